"""A folder of pictures → a caption beside each, made of what several models say.

What a person wrote stays, in every case: a text file whose bytes are not those that the lock says
we wrote, one that the lock does not know, and a caption in a `metadata.jsonl` (`whose.py`). The
lock is written before the captions: a kill between them leaves none of ours that looks like a
person's.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lora_ci.core.digest import sha256_bytes, sha256_json
from lora_ci.core.errors import InputError, machine_error
from lora_ci.core.finding import Finding
from lora_ci.dataset.build_features import Progress
from lora_ci.dataset.caption_fixes import Fix
from lora_ci.dataset.captioning.asking import ask, seen
from lora_ci.dataset.captioning.captioner import CaptionModel
from lora_ci.dataset.captioning.lock import Entry, SaidBy, State, read_lock, write_lock
from lora_ci.dataset.captioning.merge import (
    OTHERS,
    Likeness,
    MergeSettings,
    check_trigger,
    merge_captions,
)
from lora_ci.dataset.captioning.phrases import parse
from lora_ci.dataset.captioning.whose import Picture, sort_out
from lora_ci.dataset.trigger import Trigger
from lora_ci.diffusion.request import Picture as Pixels

# Raise it when the same words of models become another caption.
MERGING_VERSION = 1
# A person looks at this share of the captions, those that models differ most in.
REVIEWED = 0.1

Sees = Callable[[Pixels], Likeness]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionChange:
    """A caption to write: the picture, its text file, and the bytes it has and gets."""

    image: str
    file: str
    before: bytes | None
    after: bytes

    def diff(self) -> str:
        """Lines that go and come."""
        return Fix(name=self.file, before=self.before or b"", after=self.after).diff()


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """A caption that a person should look at, and why."""

    image: str
    disagreement: float
    ties: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionPlan:
    """What is to be written, and what is not.

    `entries` are the lock's, by picture; `human` are pictures whose captions are a person's,
    `current` those whose captions are ours and as they should be. `findings` tell of pictures that
    get none.
    """

    changes: tuple[CaptionChange, ...]
    entries: Mapping[str, Entry]
    known: Mapping[str, Entry]
    human: tuple[str, ...]
    current: tuple[str, ...]
    review: tuple[Review, ...]
    findings: tuple[Finding, ...]


def plan_captions(
    folder: Path,
    models: Sequence[CaptionModel],
    settings: MergeSettings,
    *,
    counted_by: str = "",
    sees: Sees | None = None,
    seen_by: str = "",
    cache: Path | None = None,
    progress: Progress = lambda *_: None,
) -> CaptionPlan:
    """Asks the models and decides what every caption should be; nothing is written.

    `counted_by` names what `settings.count` counts with. `sees` tells how near a picture is to
    texts, and `seen_by` names it.

    Raises:
        InputError: the lock is damaged, the trigger too long, a model cannot be opened or fails,
            or a picture changed meanwhile.
        InfrastructureError: what a model needs is not installed, or its program fails.
    """
    check_trigger(settings)
    models = list({model.asked: model for model in models}.values())
    asked = sorted(model.asked for model in models)
    told = (settings.trigger, settings.limit, settings.style, settings.class_noun)
    recipe = sha256_json([MERGING_VERSION, *told, counted_by, seen_by])
    lock = read_lock(folder)
    whose = sort_out(folder, lock, cache, progress)
    entries = dict(whose.entries)
    todo = [p for p in whose.free if not _is_current(p, lock.get(p.sha256), asked, recipe)]
    said = ask(folder, models, todo, lock, cache=cache, progress=progress)
    spoken = {sha256: entry.models for sha256, entry in lock.items()} | said
    others = _Others.of(spoken, settings.trigger) if sees else None
    changes = []
    for picture in todo:
        answers = said[picture.sha256]
        merged = merge_captions(
            [one.said for one in answers],
            settings,
            likeness=sees(seen(folder, picture)) if sees else None,
            others=others.than(picture.sha256) if others else (),
        )
        after = f"{merged.text}\n".encode()
        known = entries.get(picture.sha256)
        before = sha256_bytes(picture.before) if picture.before is not None else None
        entries[picture.sha256] = Entry(
            image=picture.sha256,
            caption=sha256_bytes(after),
            state=State.GENERATED,
            models=answers,
            recipe=recipe,
            votes=merged.votes,
            disagreement=merged.disagreement,
            ties=merged.ties,
            replaces=before or (known.replaces if known else None),
        )
        if picture.before != after:
            changes.append(
                CaptionChange(
                    image=picture.name, file=picture.file, before=picture.before, after=after
                )
            )
    changed = {change.image for change in changes}
    return CaptionPlan(
        changes=tuple(changes),
        entries=entries,
        known=lock,
        human=whose.human,
        current=tuple(picture.name for picture in whose.free if picture.name not in changed),
        review=_review(whose.free, entries),
        findings=whose.findings,
    )


def write_captions(folder: Path, plan: CaptionPlan) -> tuple[str, ...]:
    """Writes the lock and the captions; the files that changed meanwhile, which are left.

    Raises InfrastructureError where the disk is full or refuses; the same again goes on.
    """
    if plan.changes:
        write_lock(folder, plan.entries.values())
    left = []
    for change in plan.changes:
        try:
            _write(folder, change)
        except InputError:
            left.append(change.file)
        except OSError as error:
            expected = machine_error(error, folder / change.file)
            if expected is None:
                raise
            raise expected from error
    last = {key: replace(entry, replaces=None) for key, entry in plan.entries.items()}
    if plan.changes or last != dict(plan.known):
        write_lock(folder, last.values())
    return tuple(left)


def _write(folder: Path, change: CaptionChange) -> None:
    """Raises InputError if the file is not as it was when the caption was made."""
    if change.before is not None:
        Fix(name=change.file, before=change.before, after=change.after).write(folder)
        return
    path = folder / change.file
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".captioned-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(change.after)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        try:
            # Unlike a rename it takes nobody's place.
            os.link(name, path)
        except FileExistsError as error:
            raise InputError(f"{change.file} came there meanwhile") from error
    finally:
        os.unlink(name)


def _is_current(
    picture: Picture, entry: Entry | None, asked: Sequence[tuple[str, str, str]], recipe: str
) -> bool:
    """True where the same models and settings made the caption that is there."""
    return (
        entry is not None
        and picture.before is not None
        and sha256_bytes(picture.before) == entry.caption
        and entry.recipe == recipe
        and [one.asked for one in entry.models] == asked
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Others:
    """Phrases that were said of pictures, each with one of them, in an order that is chance's."""

    phrases: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, said: Mapping[str, Sequence[SaidBy]], trigger: str) -> _Others:
        known = Trigger(trigger)
        texts = {
            phrase.own: sha256
            for sha256, some in sorted(said.items())
            for one in some
            for phrase in parse(one.said, known).phrases
        }
        order = sorted(texts, key=lambda text: sha256_bytes(text.encode()))
        return cls(phrases=tuple((texts[text], text) for text in order))

    def than(self, sha256: str) -> list[str]:
        """Some of other pictures."""
        others = (text for of, text in self.phrases if of != sha256)
        return [text for text, _ in zip(others, range(OTHERS), strict=False)]


def _review(pictures: Iterable[Picture], entries: Mapping[str, Entry]) -> tuple[Review, ...]:
    """The tenth of our captions that models differ most in, the worst first."""
    told = []
    for picture in pictures:
        entry = entries[picture.sha256]
        if entry.disagreement is not None:
            told.append(
                Review(image=picture.name, disagreement=entry.disagreement, ties=entry.ties)
            )
    told.sort(key=lambda one: (-one.disagreement, one.image))
    return tuple(one for one in told[: math.ceil(REVIEWED * len(told))] if one.disagreement > 0)
