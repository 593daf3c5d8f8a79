"""What several models say of one picture → one caption, by vote.

1. Each caption becomes phrases, without hedges and openings (`phrases.py`).
2. Slots are voted on first: colors and numbers of things, posture, place, gender, …. Where models
   differ the majority is right; without one nobody is, which is told.
3. A phrase stays if two models say it, or if the picture is nearer to it than to half of what was
   said of other pictures. Of one model alone all stays.
4. The caption that is agreed on most is the skeleton; what else is agreed on follows, the most
   agreed on first, as far as the tokens go. The trigger is first.

In which order the models come decides nothing.
"""

from __future__ import annotations

import itertools
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from lora_ci.core.errors import InputError
from lora_ci.dataset.captioning.meanings import ARTICLES, canonical
from lora_ci.dataset.captioning.phrases import (
    Parsed,
    Phrase,
    Statement,
    Style,
    contents,
    leave_out,
    meanings,
    parse,
    settled,
    statements,
    without_words,
)
from lora_ci.dataset.trigger import Trigger

# Words that two phrases share, of those in either.
LIKE = 0.6
# Phrases of other pictures that a doubtful one is compared with.
OTHERS = 20

# How near a picture is to each of some texts; only their order counts.
Likeness = Callable[[Sequence[str]], Sequence[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeSettings:
    """What the caption must be.

    `count` tells the tokens of a text, of which there are `limit` at most. A `class_noun`, such as
    `woman`, is what the trigger stands for: where a caption begins with it, the trigger takes its
    place.
    """

    trigger: str
    count: Callable[[str], int] = field(compare=False)
    limit: int
    style: Style = "prose"
    class_noun: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """A caption and how it came to be.

    `votes` has how many models say each phrase and value in it. `disagreement` is 0 to 1: one less
    the share of what a model says that another says too, over all pairs; None of one model.
    `ties` are what models contradict each other in without a majority.
    """

    text: str
    votes: Mapping[str, int]
    disagreement: float | None
    ties: tuple[str, ...]


def merge_captions(
    said: Iterable[str],
    settings: MergeSettings,
    *,
    likeness: Likeness | None = None,
    others: Sequence[str] = (),
) -> Merged:
    """One caption of what each model says of a picture.

    `likeness` is of that picture, and `others` are phrases of other pictures; without them only
    what two models say stays.

    Raises InputError if the trigger alone has too many tokens.
    """
    check_trigger(settings)
    trigger = Trigger(settings.trigger)
    models = [parse(text, trigger) for text in sorted(said)]
    needed = min(2, len(models))
    see = _Eye(likeness=likeness, others=others)
    ballot = _vote_on_slots(models, needed, see)
    struck = [replace(one, phrases=_strike(one.phrases, ballot)) for one in models]

    @cache
    def support(phrase: Phrase) -> int:
        """How many models say it."""
        return sum(_is_said(phrase, one.phrases) for one in struck)

    everything = dict.fromkeys(p for one in struck for p in one.phrases)
    seen = see.nearer(sorted({p.own for p in everything if support(p) < needed}))
    agreed = {p: support(p) for p in everything if support(p) >= needed or p.own in seen}
    skeleton = max(
        struck,
        key=lambda one: (
            one.is_prose or settings.style == "tags",
            sum(agreed.get(phrase, 0) for phrase in one.phrases),
            [phrase.text for phrase in one.phrases],
        ),
        default=Parsed(begins=False, is_named=False, is_prose=True, phrases=()),
    )
    kept = _kept(skeleton, agreed)
    further = _further(kept.phrases, agreed)
    if settings.class_noun and not kept.begins:
        kept = _named(kept, settings.class_noun)
    text, used = _fitted(kept, further, trigger, settings)
    values = {
        one.told: ballot.stated[one.slot, one.value]
        for phrase in used
        for one in statements(phrase)
        if not one.implied
    }
    return Merged(
        text=text,
        votes=dict(sorted({**values, **{p.own: support(p) for p in used}}.items())),
        disagreement=_disagreement(models),
        ties=ballot.ties,
    )


def check_trigger(settings: MergeSettings) -> None:
    """Raises InputError for a trigger that alone has more tokens than a caption may have."""
    if settings.count(settings.trigger) > settings.limit:
        message = f"the trigger `{settings.trigger[:80]}` has more than {settings.limit} tokens"
        raise InputError(message, hint="next: take a shorter trigger")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Eye:
    """Compares a picture with texts."""

    likeness: Likeness | None
    others: Sequence[str]

    def nearer(self, texts: Sequence[str]) -> frozenset[str]:
        """The texts that the picture is nearer to than to half of what others show."""
        if self.likeness is None or not self.others or not texts:
            return frozenset()
        found = self.likeness([*texts, *self.others])
        limit = statistics.median(found[len(texts) :])
        return frozenset(text for text, near in zip(texts, found, strict=False) if near > limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ballot:
    """The value of each slot that is voted on, None where there is none.

    `stated` has how many models say a value.
    """

    chosen: Mapping[str, str | None]
    stated: Mapping[tuple[str, str], int]
    ties: tuple[str, ...]


def _vote_on_slots(models: Sequence[Parsed], needed: int, see: _Eye) -> _Ballot:
    """A model that says two values of a slot speaks of two things, and does not vote on it."""
    votes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    stated: Counter[tuple[str, str]] = Counter()
    told: dict[tuple[str, str], Statement] = {}
    for model in models:
        own = _values(model.phrases)
        for slot, values in own.items():
            votes[slot].update(list(values) if len(values) == 1 else ())
            for value, statement in values.items():
                stated[slot, value] += 1
                known = told.setdefault((slot, value), statement)
                told[slot, value] = min(known, statement, key=lambda s: (s.implied, s.told))
    chosen: dict[str, str | None] = {}
    ties, weak = [], {}
    for slot, counts in sorted(votes.items()):
        if not counts:
            continue
        (first, most), *rest = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        chosen[slot] = first
        if rest and rest[0][1] == most:
            chosen[slot] = None
            ties.append(f"{slot}: {' or '.join(sorted(counts))}")
        elif stated[slot, first] < needed and not told[slot, first].implied:
            weak[slot] = told[slot, first].told
    seen = see.nearer(sorted(set(weak.values())))
    chosen |= {slot: None for slot, text in weak.items() if text not in seen}
    return _Ballot(chosen=chosen, stated=stated, ties=tuple(ties))


def _values(phrases: Iterable[Phrase]) -> dict[str, dict[str, Statement]]:
    """What one model says: slot → value → who says it, those that only imply it last."""
    found: defaultdict[str, dict[str, Statement]] = defaultdict(dict)
    for statement in itertools.chain.from_iterable(map(statements, phrases)):
        before = found[statement.slot].setdefault(statement.value, statement)
        if before.implied:
            found[statement.slot][statement.value] = statement
    return found


def _strike(phrases: Sequence[Phrase], ballot: _Ballot) -> tuple[Phrase, ...]:
    """The phrases without values that were not chosen.

    One with nothing left is left out, and one of another thing of a model that speaks of several.
    """
    own = _values(phrases)
    found, kept = [], []
    for phrase in phrases:
        lost = [
            one
            for one in statements(phrase)
            if one.slot in ballot.chosen and ballot.chosen[one.slot] != one.value
        ]
        left = without_words(phrase, [one.word for one in lost]) if lost else phrase
        found.append(left)
        kept.append(bool(meanings(left)) and all(len(own[one.slot]) == 1 for one in lost))
    return tuple(leave_out(found, kept))


def _is_said(phrase: Phrase, by: Iterable[Phrase]) -> bool:
    wanted = contents(phrase)
    for other in by:
        theirs = contents(other)
        if wanted <= meanings(other) or len(wanted & theirs) >= LIKE * len(wanted | theirs):
            return True
    return False


def _kept(skeleton: Parsed, agreed: Collection[Phrase]) -> Parsed:
    """What is agreed on of the skeleton, each in the words that say most of what is agreed on."""
    times = Counter(map(contents, skeleton.phrases))
    phrases, kept = [], []
    for phrase in skeleton.phrases:
        if phrase not in agreed:
            best = _largest_within(phrase, agreed)
        elif times[contents(phrase)] > 1:
            best = phrase
        else:
            best = _richest([p for p in agreed if contents(p) == contents(phrase)], phrase)
        kept.append(best is not None)
        phrases.append(replace(phrase, words=best.words) if best else phrase)
    return replace(skeleton, phrases=tuple(leave_out(phrases, kept)))


def _largest_within(phrase: Phrase, agreed: Iterable[Phrase]) -> Phrase | None:
    """The most that is agreed on of a phrase: of `a dancing woman` perhaps `a woman`."""
    within = [p for p in agreed if p.words and contents(p) < contents(phrase)]
    most = max((len(contents(p)) for p in within), default=0)
    return _richest([p for p in within if len(contents(p)) == most], phrase)


def _richest(alike: Iterable[Phrase], phrase: Phrase) -> Phrase | None:
    """Of phrases of one meaning that with most values; where it says as much, the phrase itself."""
    return max(
        alike,
        key=lambda p: (_values_in(p), p == phrase, -len(p.own), p.own),
        default=None,
    )


def _values_in(phrase: Phrase) -> int:
    """How many colors, numbers and the like it tells; that there is one thing goes without."""
    return sum(not one.implied and one.value != "1" for one in statements(phrase))


def _named(kept: Parsed, class_noun: str) -> Parsed:
    """With the class noun of the first phrase taken out, where it is there, for the trigger."""
    noun = canonical(class_noun.lower())
    first = kept.phrases[0] if kept.phrases and not kept.phrases[0].lead else None
    place = next(
        (i for i, w in enumerate(first.words if first else ()) if canonical(w) == noun), None
    )
    if first is None or place is None:
        return kept
    before = tuple(word for word in first.words[:place] if word not in ARTICLES)
    front, back = (
        Phrase(after_comma=True, lead=(), words=words)
        for words in (before, first.words[place + 1 :])
    )
    parts = [part for part in (front, back) if meanings(part)]
    rest = kept.phrases[1:]
    if parts[-1:] == [front] and rest:
        rest = (replace(rest[0], after_comma=True), *rest[1:])
    return replace(kept, is_named=not parts, phrases=(*parts, *rest))


def _further(kept: Iterable[Phrase], agreed: Mapping[Phrase, int]) -> list[Phrase]:
    """What else is agreed on, the most agreed on first."""
    order = sorted(agreed, key=lambda p: (-agreed[p], -_values_in(p), p.own, p.text))
    found = list(kept)
    known = len(found)
    for phrase in order:
        if not _is_said(phrase, found):
            found.append(replace(phrase, after_comma=True))
    return found[known:]


def _fitted(
    kept: Parsed, further: Sequence[Phrase], trigger: Trigger, settings: MergeSettings
) -> tuple[str, Sequence[Phrase]]:
    """The text within the limit, and its phrases: from the end of the skeleton goes what must."""

    def text_of(phrases: Sequence[Phrase]) -> str:
        return settled(replace(kept, phrases=tuple(phrases)), trigger, settings.style)

    phrases = list(kept.phrases)
    while settings.count(text_of(phrases)) > settings.limit:
        phrases.pop()
    for phrase in further:
        if settings.count(text_of([*phrases, phrase])) <= settings.limit:
            phrases.append(phrase)
    return text_of(phrases), phrases


def _disagreement(models: Sequence[Parsed]) -> float | None:
    """One less the mean over pairs of the share of what either says that the other says too."""
    shares = []
    for one, other in itertools.combinations(models, 2):
        said = [_is_said(p, b.phrases) for a, b in ((one, other), (other, one)) for p in a.phrases]
        mine, theirs = _told_values(one), _told_values(other)
        said += [value in b for a, b in ((mine, theirs), (theirs, mine)) for value in a]
        shares.append(sum(said) / len(said) if said else 1.0)
    return round(1 - statistics.fmean(shares), 4) if shares else None


def _told_values(model: Parsed) -> set[tuple[str, str]]:
    found = itertools.chain.from_iterable(map(statements, model.phrases))
    return {(one.slot, one.value) for one in found if not one.implied}
