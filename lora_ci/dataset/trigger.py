"""The trigger in a caption: there as a word of its own, once, spelled as the config has it."""

from __future__ import annotations

import re
from collections.abc import Iterator

# Of three letters, `mei` and `men` are one edit apart, and so are most words.
MIN_LETTERS = 4


class Trigger:
    """The word or words that call the concept, compiled for many captions."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._pattern = re.compile(rf"(?<!\w){re.escape(text)}(?!\w)", re.IGNORECASE)
        self._lower = text.lower()
        self._words = len(re.findall(r"\w+", text))

    def places(self, text: str) -> list[tuple[int, int]]:
        """Begin and end of each time it stands in the text."""
        return [match.span() for match in self._pattern.finditer(text)]

    def without(self, text: str) -> str:
        """The text with a gap for each trigger."""
        return self._pattern.sub(" ", text)

    def misspelled(self, text: str) -> str | None:
        """What in the text is one edit from the trigger: a letter more, less, other or swapped.

        A blank or hyphen within it counts as a letter.
        """
        if len(self._lower) < MIN_LETTERS:
            return None
        low = text.lower()
        for begin, end in self._windows(low):
            if is_one_edit(low[begin:end], self._lower):
                return text[begin:end]
        return None

    def _windows(self, low: str) -> Iterator[tuple[int, int]]:
        """Runs of about as many words as the trigger has, and about as long."""
        words = [match.span() for match in re.finditer(r"\w+", low)]
        length = len(self._lower)
        for count in {max(1, self._words - 1), max(1, self._words), self._words + 1}:
            for first, last in zip(words, words[count - 1 :], strict=False):
                if abs(last[1] - first[0] - length) <= 1:
                    yield first[0], last[1]


def is_one_edit(one: str, other: str) -> bool:
    """True if one letter added, left out, changed, or swapped with its neighbor makes them equal.

    Source: Damerau 1964, "A technique for computer detection and correction of spelling errors".
    """
    if len(one) > len(other):
        one, other = other, one
    if one == other or len(other) - len(one) > 1:
        return False
    at = next((i for i, letter in enumerate(one) if letter != other[i]), len(one))
    if len(one) < len(other):
        return one[at:] == other[at + 1 :]
    swapped = one[at : at + 2] == other[at : at + 2][::-1] and one[at + 2 :] == other[at + 2 :]
    return swapped or one[at + 1 :] == other[at + 1 :]
