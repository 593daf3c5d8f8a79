"""A folder as kohya's trainer takes it → a config of ours, with all that it cannot say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from lora_ci.config.load import load_config
from lora_ci.config.work_tree import read_file
from lora_ci.config.written import unique
from lora_ci.core.errors import UsageError
from lora_ci.core.finding import Finding, Severity
from lora_ci.importing.captions import Seen, has_word, metadata_text, see_captions
from lora_ci.importing.folders import Layout, look, many, told
from lora_ci.importing.render import BaseModel, Drafted, render
from lora_ci.importing.train_values import train_values
from lora_ci.importing.trainings import Training, trainings_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """The config, the `metadata.jsonl` files by path that it needs, and what was not taken."""

    text: str
    loras: tuple[str, ...]
    data: tuple[str, ...]
    captions: Mapping[str, str]
    findings: tuple[Finding, ...]


def import_kohya(root: Path, folder: Path, base: BaseModel, name: str | None = None) -> Imported:
    """The config for the folder, whose paths are seen from `root`.

    `name` makes one LoRA of everything, as kohya's trainer does; else each concept is one.

    Raises:
        UsageError: there are no pictures, a TOML file cannot be read, or `name` does not fit.
    """
    layout = look(root, folder)
    trainings = trainings_of(root, folder, layout, together=name is not None)
    if not trainings:
        message = f"no folder of pictures that kohya's trainer would take in {folder}"
        hint = "expected such as 10_mei/01.png: ten times an epoch, called by `mei`"
        empty = replace(told("empty", message, hint=hint), severity=Severity.ERROR)
        raise UsageError(message, hint=hint, findings=(empty, *layout.findings))
    if name is not None and len(trainings) > 1:
        files = ", ".join(layout.dataset_files)
        raise UsageError(f"`--name` names one LoRA; {files} are of {len(trainings)}")
    taken: set[str] = set()
    captions: dict[str, str] = {}
    drafts = []
    for training in trainings:
        seen = [
            see_captions(root, f, layout) for f in (*training.folders, *training.regularization)
        ]
        captions |= {
            f"{each.folder.path}/metadata.jsonl": metadata_text(each.written)
            for each in seen
            if each.written
        }
        learned = seen[: len(training.folders)]
        drafts.append(_draft(training, learned, layout, unique(name or training.hint, taken), name))
    text = render(folder.relative_to(root).as_posix(), base, drafts)
    load_config(text.encode(), read=lambda file: read_file(root, file))
    every = [f.path for t in trainings for f in (*t.folders, *t.regularization)]
    return Imported(
        text=text,
        loras=tuple(draft.name for draft in drafts),
        data=tuple(dict.fromkeys(every)),
        captions=captions,
        findings=tuple(dict.fromkeys((*layout.findings, *(f for d in drafts for f in d.findings)))),
    )


def _draft(
    training: Training, seen: list[Seen], layout: Layout, name: str, wanted: str | None
) -> Drafted:
    """A LoRA as it will be written."""
    values = train_values(
        training.train_file,
        training.below,
        training.names,
        regularized=bool(training.regularization),
    )
    texts = [text for each in seen for text in each.kohya.values()]
    trigger = _trigger([each.folder.concept for each in seen], texts, wanted or training.hint)
    without = sum(not has_word(text, trigger) for text in texts)
    if without:
        message = f"{without} of {many(len(texts), 'caption')} of `{name}` without `{trigger}`"
        hint = "write the word that calls the concept into them, or give another `trigger`"
        layout.tell("trigger", message, seen[0].folder.path, hint)
    return Drafted(
        name=name,
        trigger=trigger,
        why=f"in {len(texts) - without} of {many(len(texts), 'caption')}",
        folders=tuple(sorted(training.folders, key=lambda f: f.path)),
        regularization=_regularization(training, layout),
        train=values,
        train_file=training.train_file.where.file if training.train_file else None,
        findings=values.findings,
    )


def _trigger(concepts: list[str], texts: list[str], name: str) -> str:
    """The longest part of the concept that all captions have; else its first word."""
    words = [w for concept in dict.fromkeys(concepts) for w in _candidates(concept)]
    known = [w for w in dict.fromkeys(words) if all(has_word(text, w) for text in texts)]
    if known:
        return known[0]
    first = next((c for c in concepts if c), name)
    return re.split(r"[\s,]+", first)[0] or name


def _candidates(concept: str) -> list[str]:
    parts = [part.strip() for part in concept.split(",")]
    return [text for text in (concept, *parts, *re.split(r"[\s,]+", concept)) if text]


def _regularization(training: Training, layout: Layout) -> str | None:
    """The folder of regularization images: that of the class, or the one that holds them all."""
    paths = list(dict.fromkeys(folder.path for folder in training.regularization))
    if len(paths) < 2:
        return paths[0] if paths else None
    parents = {folder.parent for folder in training.regularization}
    if len(parents) > 1 or not (parent := parents.pop()):
        message = f"several folders of regularization images: {', '.join(paths)}"
        layout.tell("regularization", f"{message}; the first is taken", hint="put them into one")
        return paths[0]
    return parent
