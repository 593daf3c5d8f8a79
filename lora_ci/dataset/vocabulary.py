"""The words of all captions together: those that nearly all share, and the style of writing."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from lora_ci.core.finding import Finding
from lora_ci.dataset.rules import finding

# In fewer captions a word stands often by chance.
MIN_FOR_CONSTANT = 8
MOST_CONSTANT = 5
# A word is told for itself only if it stands in so much more captions than its phrase.
BEYOND_PHRASE = 0.05
# Words that show nothing: a picture cannot hold them, so no concept learns them.
STOP_WORDS = frozenset(
    (
        *("a", "an", "the", "this", "that", "it", "its", "his", "her", "their", "there"),
        *("is", "are", "was", "as", "be", "and", "or", "while", "of", "to", "for", "by", "from"),
        *("in", "on", "at", "with", "into", "onto", "over", "under", "near", "beside", "behind"),
        *("between", "around", "against"),
    )
)
WORD = re.compile(r"\w+")
PIECE = re.compile(r"\w+|[,.;:!?|]")
# Words that prose cannot do without and tags have none of.
PROSE_WORDS = frozenset({"a", "an", "the", "is", "are", "of", "with", "in", "on", "and", "while"})
# A few of the other style are slips; a fifth is two sources put together.
MIXED_SHARE = 0.2
MIN_FOR_STYLE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """A caption in small letters: whole, between its commas, and its words; no underscores."""

    text: str
    fields: tuple[str, ...]
    words: tuple[str, ...]


def wording_of(text: str) -> Wording:
    """Reads a text into its parts."""
    low = text.lower().replace("_", " ")
    return Wording(
        text=low,
        fields=tuple([field.strip() for field in low.split(",")]),
        words=tuple(WORD.findall(low)),
    )


def word_counts(wordings: Iterable[Wording]) -> Counter[str]:
    """In how many captions each word stands, those that mean nothing left out."""
    counts: Counter[str] = Counter()
    for wording in wordings:
        counts.update(set(wording.words))
    for word in STOP_WORDS:
        counts.pop(word, None)
    return counts


def commonest(counts: Counter[str], most: int) -> list[tuple[str, int]]:
    """The words in most captions, in the same order every time."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]


def constant_words(
    wordings: Sequence[Wording],
    counts: Counter[str],
    trigger: str,
    share: float,
    fused: Iterable[str],
) -> Iterator[Finding]:
    """Words and pairs of words in more than `share` of the captions become part of the concept.

    The trigger will not be the only one to call it. `fused` are meant to.
    """
    if len(wordings) < MIN_FOR_CONSTANT:
        return
    meant = [wording_of(phrase).words for phrase in fused]
    least = share * len(wordings)
    known = set(wording_of(trigger).words).union(*meant)
    words = {w: n for w, n in counts.items() if n > least and w not in known}
    # A word of a fused phrase that also stands elsewhere is found by the captions without it.
    words |= _beside(wordings, counts, meant, least)
    pairs = {p: n for p, n in _pairs(wordings, words).items() if n > least}
    for (one, other), times in pairs.items():
        for word in (one, other):
            if words.get(word, 0) <= times + BEYOND_PHRASE * len(wordings):
                words.pop(word, None)
    told = Counter(words) + Counter({f"{one} {other}": n for (one, other), n in pairs.items()})
    for text, times in commonest(told, MOST_CONSTANT):
        message = f"`{text}` stands in {times} of {len(wordings)} captions: "
        hint = f'meant so: `fuse: ["{text}"]` in `validate:`; else vary it'
        yield finding(
            "caption.constant-word", f"{message}it becomes part of the concept", hint=hint
        )


def _beside(
    wordings: Sequence[Wording],
    counts: Counter[str],
    meant: Sequence[tuple[str, ...]],
    least: float,
) -> dict[str, int]:
    """Words of fused phrases that are in too many captions outside of those phrases too."""
    phrases = [phrase for phrase in meant if len(phrase) > 1]
    single = {phrase[0] for phrase in meant if len(phrase) == 1}
    asked = {w for phrase in phrases for w in phrase if counts[w] > least} - single - STOP_WORDS
    if not asked:
        return {}
    runs = [r"\W+".join(map(re.escape, phrase)) for phrase in phrases]
    pattern = re.compile(rf"\b(?:{'|'.join(runs)})\b")
    found: Counter[str] = Counter()
    for wording in wordings:
        found.update(asked.intersection(WORD.findall(pattern.sub(" ", wording.text))))
    return {word: times for word, times in found.items() if times > least}


def _pairs(wordings: Sequence[Wording], words: Iterable[str]) -> Counter[tuple[str, str]]:
    """In how many captions two of the words stand side by side, with no comma between."""
    wanted = set(words)
    counts: Counter[tuple[str, str]] = Counter()
    if len(wanted) < 2:
        return counts
    for wording in wordings:
        pieces = PIECE.findall(wording.text)
        sides = itertools.pairwise(pieces)
        counts.update({(a, b) for a, b in sides if a in wanted and b in wanted})
    return counts


def style_of(wording: Wording) -> str | None:
    """`tags`, `prose`, or None where a text could be either."""
    words, fields = len(wording.words), len(wording.fields)
    if not words:
        return None
    small = sum(word in PROSE_WORDS for word in wording.words) / words
    if fields >= 4 and words / fields <= 2.5 and small < 0.1:
        return "tags"
    if words >= 6 and words / fields >= 4 and small >= 0.15:
        return "prose"
    return None


def mixed_styles(files: Sequence[str], wordings: Sequence[Wording]) -> Iterator[Finding]:
    """Tags in a set of prose, or prose in a set of tags."""
    styles: dict[str, list[str]] = {"tags": [], "prose": []}
    for file, wording in zip(files, wordings, strict=True):
        if style := style_of(wording):
            styles[style].append(file)
    few, many = sorted(styles, key=lambda style: len(styles[style]))
    total = len(styles[few]) + len(styles[many])
    if total >= MIN_FOR_STYLE and len(styles[few]) > MIXED_SHARE * total:
        message = f"{len(styles[few])} captions are {few}, {len(styles[many])} are {many}"
        hint = f"write all alike; of {few} is {styles[few][0]}, of {many} {styles[many][0]}"
        yield finding("caption.mixed-style", message, hint=hint)
