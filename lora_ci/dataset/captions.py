"""Captions: there, readable, with the trigger, short enough, and each of its own words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_ci.core.captions import Caption
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.settings import ValidateSettings
from lora_ci.dataset.caption_files import Tell, read_captions, short_name
from lora_ci.dataset.copies import find_copies
from lora_ci.dataset.folding import Folding
from lora_ci.dataset.rules import finding
from lora_ci.dataset.tokens import TextTokenizer, lost_words, read_tokenizers
from lora_ci.dataset.trigger import Trigger
from lora_ci.dataset.vocabulary import (
    STOP_WORDS,
    Wording,
    commonest,
    constant_words,
    mixed_styles,
    word_counts,
    wording_of,
)
from lora_ci.dataset.wording import against_picture, problems, quoted

MOST_LOST_WORDS = 8
MOST_WORDS = 20
MOST_FOLDERS = 50
# Longer captions share the last place of a histogram.
MOST_PLACES = 512

HINTS = {
    "caption.leftover": "write what is in the picture",
    "caption.markup": "leave plain words",
    "caption.prompt-syntax": "leave plain words: training knows no weights and commands",
    "caption.characters": "write the caption anew, or paste it as plain text",
    "caption.several-lines": "join them to one line",
    "caption.contradiction": "keep what the picture shows",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What is wrong with the captions of a dataset, and what they hold.

    `findings` are folded; `counts` and `rules` have the number of all by severity and by rule.
    `captions` are by image. `tokens_max` is None where lengths could not be measured. `statistics`
    is JSON for the report.
    """

    findings: tuple[Finding, ...]
    counts: Mapping[Severity, int]
    rules: Mapping[str, int]
    captions: Mapping[str, Caption]
    tokens_max: int | None
    statistics: dict[str, Any]


def audit_captions(
    folder: Path,
    images: Sequence[str],
    names: Iterable[str],
    *,
    trigger: str,
    settings: ValidateSettings,
    missing: Iterable[str] = (),
    base_model: Path | None = None,
    chroma: Mapping[str, float] | None = None,
) -> Audit:
    """Checks the captions of the images of a folder.

    `names` are all files of the folder, `missing` those that belong to it and could not be fetched.
    `chroma` has the mean distance of an image's colors from gray, in levels, where it is known.
    """
    folding = Folding()
    found = read_captions(folder, images, frozenset(names), frozenset(missing), folding.add)
    texts = _read(found, Trigger(trigger))
    counts = word_counts(texts.wordings)
    _check_triggers(texts, folding.add)
    lengths = _check_lengths(texts, read_tokenizers(base_model), settings, folding.add)
    _check_wordings(texts, folding.add)
    _check_colors(texts, chroma or {}, folding.add)
    folding.extend(
        constant_words(texts.wordings, counts, trigger, settings.constant_words, settings.fuse)
    )
    folding.extend(mixed_styles([caption.file for caption in texts.captions], texts.wordings))
    _check_copies(texts, settings.caption_likeness, folding.add)
    return Audit(
        findings=folding.folded(),
        counts=folding.counts,
        rules=folding.rules,
        captions=found,
        tokens_max=max(lengths) if lengths else None,
        statistics={
            "caption_words": _histogram([len(wording.words) for wording in texts.wordings]),
            "caption_tokens": _histogram(lengths),
            "words": [list(pair) for pair in commonest(counts, MOST_WORDS)],
            "folders": _folders(images, found),
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Texts:
    """The captions in order, each with its image, where the trigger stands in it, and its words."""

    trigger: Trigger
    images: Sequence[str]
    captions: Sequence[Caption]
    places: Sequence[Sequence[tuple[int, int]]]
    wordings: Sequence[Wording]


def _read(found: Mapping[str, Caption], trigger: Trigger) -> _Texts:
    captions = list(found.values())
    return _Texts(
        trigger=trigger,
        images=list(found),
        captions=captions,
        places=[trigger.places(caption.text) for caption in captions],
        wordings=[wording_of(caption.text) for caption in captions],
    )


def _at(caption: Caption, rule: str, message: str, hint: str | None = None) -> Finding:
    return finding(rule, message, file=caption.file, line=caption.line, hint=hint)


def _check_triggers(texts: _Texts, tell: Tell) -> None:
    trigger = texts.trigger.text
    for caption, found in zip(texts.captions, texts.places, strict=True):
        if len(found) > 1:
            message = f"the trigger `{trigger}` stands {len(found)} times"
            tell(_at(caption, "caption.trigger-repeated", message))
        elif found:
            continue
        elif near := texts.trigger.misspelled(caption.text):
            message = f"{quoted(near)} stands for the trigger `{trigger}`"
            tell(_at(caption, "caption.trigger-misspelled", message, f"write `{trigger}`"))
        else:
            message = f"the caption does not contain the trigger `{trigger}`"
            hint = f"write `{trigger}` into it, or set `trigger:` in .lora-ci.yml"
            tell(_at(caption, "caption.trigger-missing", message, hint))


def _check_lengths(
    texts: _Texts, tokenizers: Sequence[TextTokenizer], settings: ValidateSettings, tell: Tell
) -> list[int]:
    """Tokens of each caption, of the tokenizer that makes most of it; [] if there is none."""
    captions, trigger = texts.captions, texts.trigger.text
    if not tokenizers:
        if captions:
            message = "caption lengths were not measured: the base model has no readable tokenizer"
            tell(finding("caption.length-not-measured", message))
        return []
    if any(tokenizer.is_common(trigger) for tokenizer in tokenizers):
        message = f"the trigger `{trigger}` is a word that the base model knows well"
        hint = "what it means already stands against what it shall mean: take a made-up word"
        tell(finding("caption.trigger-common", message, hint=hint))
    lengths = [0] * len(captions)
    told = set()
    for tokenizer in tokenizers:
        limit = tokenizer.limit or settings.max_tokens
        for index, tokens in enumerate(tokenizer.counts([c.text for c in captions])):
            lengths[index] = max(lengths[index], tokens)
            if tokens > limit and index not in told:
                told.add(index)
                end = tokenizer.end_of_read(captions[index].text, limit)
                message = f"{tokens} tokens; the base model reads {limit}"
                for one in _lost(captions[index], message, texts.places[index], end):
                    tell(one)
    return lengths


def _lost(
    caption: Caption, message: str, places: Sequence[tuple[int, int]], end: int
) -> Iterator[Finding]:
    """What a caption loses that is read up to `end`; `message` says why."""
    if places and places[0][1] > end:
        told = f"{message}, and the trigger stands behind them"
        yield _at(caption, "caption.trigger-cut", told, "put the trigger first")
    lost = lost_words(caption.text, end)
    shown = ", ".join(quoted(word) for word in lost[:MOST_LOST_WORDS])
    more = f" and {len(lost) - MOST_LOST_WORDS} more" if len(lost) > MOST_LOST_WORDS else ""
    told = f"{message}, not {shown}{more}" if lost else message
    yield _at(caption, "caption.too-long", told, "what comes after is not learned: shorten it")


def _check_wordings(texts: _Texts, tell: Tell) -> None:
    for caption, wording in zip(texts.captions, texts.wordings, strict=True):
        text = texts.trigger.without(caption.text)
        for rule, message in problems(text, wording.fields, wording.words):
            tell(_at(caption, rule, message, HINTS[rule]))


def _check_colors(texts: _Texts, chroma: Mapping[str, float], tell: Tell) -> None:
    """What a caption says of color against its picture."""
    for image, caption, wording in zip(texts.images, texts.captions, texts.wordings, strict=True):
        if image in chroma and (message := against_picture(wording.text, chroma[image])):
            rule = "caption.contradiction"
            tell(_at(caption, rule, message, HINTS[rule]))


def _check_copies(texts: _Texts, likeness: float, tell: Tell) -> None:
    """One finding a group of captions that say nearly the same, at its second."""
    meaningless = STOP_WORDS.union(wording_of(texts.trigger.text).words)
    sets = [frozenset(wording.words) - meaningless for wording in texts.wordings]
    for group in find_copies(sets, likeness):
        first = short_name(texts.images[group[0]])
        message = f"{len(group)} pictures have nearly the caption of {first}"
        hint = "say what tells each picture from the others"
        tell(_at(texts.captions[group[1]], "caption.copy", message, hint))


def _histogram(lengths: Sequence[int]) -> list[int]:
    """How many captions have 0, 1, 2, … words or tokens."""
    counts = Counter(min(length, MOST_PLACES) for length in lengths)
    return [counts[length] for length in range(max(counts, default=-1) + 1)]


def _folders(images: Sequence[str], captions: Mapping[str, Caption]) -> list[list[Any]]:
    """The folder of each source or concept, how many images it has, and how many captions."""
    of_images = Counter(image.rpartition("/")[0] for image in images)
    of_captions = Counter(image.rpartition("/")[0] for image in captions)
    return [[name, n, of_captions[name]] for name, n in commonest(of_images, MOST_FOLDERS)]
