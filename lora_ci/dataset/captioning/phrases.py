"""A caption → its phrases, and phrases → a caption.

`There is a woman wearing a red hat, and a dog.` has the phrases `a woman`, `wearing` `a red hat`
and `and` `a dog`: what joins them is kept apart, so that one can be left out and the rest reads
well. Captions without articles are tags: what stands between two commas is one phrase.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

from lora_ci.dataset.captioning.meanings import (
    ARTICLES,
    COUNTED,
    attribute_group,
    canonical,
    exclusive_slot,
    number_of,
    says_something,
)
from lora_ci.dataset.trigger import Trigger
from lora_ci.dataset.wording import COLORS, LEFTOVER_WORDS

Style = Literal["prose", "tags"]

VERBS = frozenset(
    (
        *("wearing", "holding", "carrying", "sitting", "standing", "lying", "laying", "kneeling"),
        *("crouching", "walking", "running", "looking", "riding", "leaning", "posing", "facing"),
        *("smiling", "sits", "stands", "lies", "seated"),
    )
)
JOINING = frozenset(
    (
        *("with", "and", "in", "on", "at", "by", "under", "over", "behind", "beside", "near"),
        *("against", "through", "inside", "outside", "above", "below", "between", "beneath"),
        *("while", "as", "featuring"),
    )
)
LONGER = frozenset({("in", "front", "of"), ("next", "to"), ("close", "to"), ("on", "top", "of")})
# Before what follows a comma these say nothing.
EMPTY_JOINTS = frozenset({"and", "with", "while", "as", "featuring"})

WORD = re.compile(r"\(?\w+(?:['.&+-]\w+)*\)?")
ENDS = re.compile(r"[,;|\n\r!?]+|[.:](?=\s|$)")
_HEDGE = (
    r"(?:possibly|probably|perhaps|maybe|seemingly|apparently|(?:most |very )?likely"
    r"|(?:what )?(?:appears?|seems?) to be|(?:might|may|could) be|some (?:kind|sort|type) of"
    rf"|(?:who|that|which) (?:is|are)|{'|'.join(sorted(LEFTOVER_WORDS, key=len, reverse=True))})\b"
)
HEDGES = re.compile(rf"\b(?:(an?) )?{_HEDGE} ?(?=(\w?))")
PICTURE = r"(?:image|picture|photo|photograph|scene)"
SUBJECT = r"(?:she|he|it|they|the (?:woman|man|girl|boy|person|child|subject|character))"
OPENINGS = re.compile(
    r"(?:there(?: is| are|'s)|this is|these are|it is|it's|here is|is|are|was|were"
    rf"|(?:in|on) (?:this|the) {PICTURE}"
    rf"|(?:the|this|an?) {PICTURE} (?:shows|depicts|features|contains|displays|captures|portrays"
    r"|showcases|is of)"
    r"|(?:an?|the|this) (?:image|picture) of"
    rf"|{SUBJECT} (?:is|are)|{SUBJECT}(?= (?:has|have)\b)"
    r")(?!\S)"
)
# `a dog is sitting on grass` and `a dog has a hat` say no more than their phrases do.
IS_DOING = re.compile(rf"\b(?:is|are|was|were) (?=\w+ing\b|(?:{'|'.join(sorted(JOINING))})\b)")
HAS = re.compile(r"\b(?:has|have)\b(?! been)")
_COLOR = "|".join(sorted(COLORS, key=len, reverse=True))
TWO_COLORS = re.compile(rf"\b({_COLOR}) and (?=(?:{_COLOR})\b)")
THING_IS = re.compile(rf"(?:the )?(\w+) (?:is|are) ({_COLOR})")
PROSE = frozenset({"a", "an", "the", "is", "are"})
# Each round takes words away or joins them; no caption needs so many.
MOST_ROUNDS = 100
# Phrases whose meaning is remembered: those of one picture are looked at many times.
CACHED = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """`words` with what joins them to those before: `lead`, after a comma where there is one."""

    after_comma: bool
    lead: tuple[str, ...]
    words: tuple[str, ...]

    @property
    def text(self) -> str:
        """All of it."""
        return " ".join((*self.lead, *self.words))

    @property
    def bare(self) -> str:
        """As a tag: without articles and what only joins."""
        begin = next((i for i, word in enumerate(self.lead) if word in VERBS), len(self.lead))
        words = (*self.lead[begin:], *self.words)
        return " ".join(word for word in words if word not in ARTICLES)

    @property
    def own(self) -> str:
        """As it stands behind a comma."""
        begin = next((i for i, w in enumerate(self.lead) if w not in EMPTY_JOINTS), len(self.lead))
        return " ".join((*self.lead[begin:], *self.words))


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A value of a slot, such as `red` of `color of hat`, and the word that says it.

    `told` is it in words; `implied` is the one of `a hat`, which only counts against `two hats`.
    """

    slot: str
    value: str
    word: str
    told: str
    implied: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """The phrases of a caption.

    `begins` where it begins with the trigger, `is_named` where that is its subject as well: `mei
    wearing a hat`, not `mei, a woman`.
    """

    begins: bool
    is_named: bool
    is_prose: bool
    phrases: tuple[Phrase, ...]


def parse(text: str, trigger: Trigger) -> Parsed:
    """What a caption says, its triggers, hedges and openings left out; none twice."""
    text = unicodedata.normalize("NFC", text)
    # The pattern of the trigger is looked for in what was written, its capitals and underscores.
    first = next(iter(trigger.places(text)), None)
    begins = first is not None and not text[: first[0]].strip()
    follows = bool(begins and first and re.match(r"[^\S\n\r]+\(?\w", text[first[1] :]))
    fields = [_words(field) for field in ENDS.split(_clean(text, trigger))]
    is_named = follows and _lead_length(fields[0], 0) > 0
    fields = [words for words in fields if words]
    is_prose = any(word in PROSE for words in fields for word in words)
    phrases: dict[str, Phrase] = {}
    comma = False
    for number, words in enumerate(fields):
        starts = number > 0 or not is_named
        found = _phrases(words, starts) if is_prose or not starts else _tag(words)
        for phrase in found:
            kept = bool(meanings(phrase)) and not _is_again(phrase, phrases.values())
            comma |= phrase.after_comma
            if kept:
                phrases.setdefault(phrase.bare, replace(phrase, after_comma=comma))
            comma &= not kept
    return Parsed(
        begins=begins, is_named=is_named, is_prose=is_prose, phrases=tuple(phrases.values())
    )


def _is_again(phrase: Phrase, before: Iterable[Phrase]) -> bool:
    """True for `the dog` after `a dog`, which only says of what the next words are."""
    return (
        not phrase.lead
        and phrase.words[0] == "the"
        and all(one.implied or one.slot == "gender" for one in statements(phrase))
        and any(contents(phrase) <= contents(other) for other in before)
    )


def _clean(text: str, trigger: Trigger) -> str:
    """Small letters without triggers and hedges; ends of sentences and lines stay."""
    before = None
    while text != before:
        before = text
        text = trigger.without(text).lower().replace("_", " ").replace("\u2019", "'")
        text = HEDGES.sub(_article, re.sub(r"[^\S\n\r]+", " ", text))
    return TWO_COLORS.sub(r"\1-and-", text)


def _article(hedge: re.Match[str]) -> str:
    """What stays of a hedge: the article before it, as the word behind it needs it."""
    article, letter = hedge.groups()
    if article is None:
        return " "
    return "an " if letter in tuple("aeiou") else "a "


def _words(field: str) -> list[str]:
    """The words between two commas, without what only opens a sentence."""
    text, before = " ".join(WORD.findall(field)), None
    while text != before:
        before = text
        if match := OPENINGS.match(text):
            text = text[match.end() :].strip()
    text = HAS.sub("with", IS_DOING.sub("", text))
    if match := THING_IS.fullmatch(text):
        return [match.group(2), match.group(1)]
    return text.split()


def _tag(words: Sequence[str]) -> Iterator[Phrase]:
    yield Phrase(after_comma=True, lead=(), words=tuple(words))


def _phrases(words: Sequence[str], after_comma: bool) -> Iterator[Phrase]:
    """The words between two commas, parted where something joins them."""
    lead: list[str] = []
    own: list[str] = []
    place = 0
    while place < len(words):
        length = _lead_length(words, place)
        # `a smiling woman` has an adjective, `a woman smiling at the sun` does not.
        if length and not (own and own[-1] in ARTICLES):
            if own:
                yield Phrase(after_comma=after_comma, lead=tuple(lead), words=tuple(own))
                lead, own, after_comma = [], [], False
            lead += words[place : place + length]
            place += length
        else:
            own.append(words[place])
            place += 1
    if own or VERBS.intersection(lead):
        yield Phrase(after_comma=after_comma, lead=tuple(lead), words=tuple(own))


def _lead_length(words: Sequence[str], place: int) -> int:
    """How many words from a place on join phrases; 0 if none."""
    for length in (3, 2):
        if tuple(words[place : place + length]) in LONGER:
            return length
    return int(place < len(words) and words[place] in VERBS | JOINING)


@lru_cache(CACHED)
def meanings(phrase: Phrase) -> frozenset[str]:
    """Its words that say something, as they are compared."""
    verbs = [w for w in phrase.lead if w in VERBS]
    return frozenset(filter(says_something, map(canonical, (*verbs, *_counted(phrase.words)))))


@lru_cache(CACHED)
def contents(phrase: Phrase) -> frozenset[str]:
    """What is compared: its things, without what is voted on apart, where more is left."""
    slight: set[str] = set()
    for part in _parts(phrase):
        head, words = _head(part), set(map(canonical, _counted(part)))
        slight |= {w for w in words if w != head and (attribute_group(w) or number_of(w))}
        slight |= {w for w in words if exclusive_slot(w) not in (None, "gender")}
    meant = frozenset(filter(says_something, map(canonical, _counted(phrase.words))))
    return meant - slight or meant or meanings(phrase)


@lru_cache(CACHED)
def statements(phrase: Phrase) -> tuple[Statement, ...]:
    """What a phrase says that another may contradict."""
    found = []
    for word in (*phrase.lead, *phrase.words):
        value = canonical(_counted([word])[-1])
        if slot := exclusive_slot(value):
            found.append(Statement(slot=slot, value=value, word=word, told=value))
    for part in _parts(phrase):
        if head := _head(part):
            found += [one for word in part if (one := _statement(word, head))]
    return tuple(found)


def _statement(word: str, head: str) -> Statement | None:
    """What a word says of a thing, if it does."""
    value = canonical(word)
    if (group := attribute_group(value)) and value != head:
        return Statement(slot=f"{group} of {head}", value=value, word=word, told=f"{word} {head}")
    number = number_of(_counted([word])[0])
    if not number and word not in ("a", "an"):
        return None
    return Statement(
        slot=f"number of {head}",
        value=number or "1",
        word=word,
        told=f"{number or word} {head}",
        implied=number is None,
    )


def _parts(phrase: Phrase) -> list[list[str]]:
    """Its words, parted where one thing is `of` another: what is said is said of the nearest."""
    parts: list[list[str]] = [[]]
    for word in phrase.words:
        if word == "of":
            parts.append([])
        else:
            parts[-1].append(word)
    return parts


def _head(words: Sequence[str]) -> str | None:
    """The thing that a phrase is about: its last word that says something."""
    meant = (canonical(word) for word in reversed(_counted(words)))
    return next((word for word in meant if says_something(word)), None)


def _counted(words: Sequence[str]) -> list[str]:
    """`1girl` as two words."""
    split = (COUNTED.fullmatch(word) for word in words)
    return [
        part
        for word, found in zip(words, split, strict=True)
        for part in (found.groups() if found else (word,))
    ]


def without_words(phrase: Phrase, struck: Iterable[str]) -> Phrase:
    """The phrase without some words; `an orange hat` becomes `a hat`."""
    gone = frozenset(struck)
    words: list[str] = []
    mend = False
    for word in phrase.words:
        if word in gone:
            mend |= bool(words) and words[-1] in ("a", "an")
            continue
        if mend and words:
            words[-1] = "an" if word[0] in "aeiou" else "a"
        words.append(word)
        mend = False
    lead = tuple(word for word in phrase.lead if word not in gone)
    return replace(phrase, lead=lead, words=tuple(words))


def leave_out(phrases: Sequence[Phrase], kept: Iterable[bool]) -> list[Phrase]:
    """Those that are kept; what followed one that is not stands behind its comma."""
    found: list[Phrase] = []
    comma = False
    for phrase, keep in zip(phrases, kept, strict=True):
        comma |= phrase.after_comma
        if keep:
            found.append(replace(phrase, after_comma=comma))
            comma = False
    return found


def render(parsed: Parsed, trigger: Trigger, style: Style) -> str:
    """The caption of phrases, the trigger first."""
    if style == "tags":
        fields = dict.fromkeys(phrase.bare for phrase in parsed.phrases)
        return ", ".join((trigger.text, *filter(None, fields)))
    text = trigger.text
    for number, phrase in enumerate(parsed.phrases):
        comma = phrase.after_comma or (number == 0 and not parsed.is_named)
        text += f", {phrase.own}" if comma else f" {phrase.text}"
    return text


def settled(parsed: Parsed, trigger: Trigger, style: Style) -> str:
    """The caption of phrases that, read again, is the same caption."""
    text = render(parsed, trigger, style)
    for _ in range(MOST_ROUNDS):
        again = render(parse(text, trigger), trigger, style)
        if again == text:
            return text
        text = again
    raise AssertionError("a caption does not settle")
