"""Why a stage runs again, in one line: the parts of the fingerprint that moved, told in words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lora_ci.changes.inputs import InputFacts
from lora_ci.core.changeset import ChangeSet, DatasetChange, kind_of
from lora_ci.core.fingerprint import Fingerprint
from lora_ci.core.plan import Record
from lora_ci.core.settings import (
    OptimizeSettings,
    QaSettings,
    TrainSettings,
    ValidateSettings,
    settings_json,
)
from lora_ci.plan.facts import LoraFacts
from lora_ci.plan.records import Compare

SECTIONS: dict[str, Callable[[], object]] = {
    "train": TrainSettings,
    "validate": ValidateSettings,
    "qa": QaSettings,
    "optimize": OptimizeSettings,
}
SHOWN = 3
LONGEST_VALUE = 24


@dataclass(frozen=True, slots=True)
class Sight:
    """What can be looked at to tell why: inputs now, differences to the base, and to the past."""

    facts: LoraFacts
    changes: ChangeSet
    compare: Compare

    def explain(self, fingerprint: Fingerprint, past: Record) -> str:
        """What differs from a record that cannot be reused."""
        moved = fingerprint.changed_parts(past.parts)
        if not moved:
            return "what it made is not in the store any more"
        if "recipe" in moved:
            then, now = past.parts.get("recipe", "1"), fingerprint.parts["recipe"]
            return f"fingerprint recipe {then} → {now}: this lora-ci decides by other things"
        told = [self.part(part, fingerprint.parts, past.parts) for part in moved[:SHOWN]]
        more = [f"and {len(moved) - SHOWN} more"] if len(moved) > SHOWN else []
        return "; ".join([*told, *more])

    def part(self, part: str, now: Mapping[str, str], then: Mapping[str, str]) -> str:
        """How one part moved."""
        match part:
            case "dataset" | "references" | "regularization":
                return f"{part}: {self.input(part, then.get(part))}"
            case "dataset.missing":
                return "the DVC remote has other files now"
            case "repeats":
                return "how often the sources repeat changed"
            case "code":
                return "lora-ci's own code for this stage changed"
            case "adapter":
                return "a new adapter"
            case "released":
                return "another adapter is the released one now"
            case _ if "." in part:
                return f"config: {part} {_value(part, then)} → {_value(part, now)}"
            case _:
                return f"{part.replace('_', ' ')} changed"

    def input(self, part: str, then: str | None) -> str:
        """The files that moved since the record was made; else those since the base commit."""
        now: InputFacts | None = getattr(self.facts, part)
        if now is None:
            return "none any more"
        change = self.compare(now, then) if then and then != "none" else None
        if change is None:
            paths = {s.path for s in self.facts.sources} if part == "dataset" else {now.path}
            told = [c for c in self.changes.datasets if c.dataset in paths]
            change = told[0] if len(told) == 1 else None
        return describe_change(change) if change else "changed"


def describe_change(change: DatasetChange) -> str:
    """`12 images added, 3 captions edited, of 140 files`."""
    if change.unknown:
        return f"changed, but {change.unknown}"
    counts = []
    for files, what in (
        (change.added, "added"),
        (change.removed, "removed"),
        (change.modified, "edited"),
        ([new for _, new in change.renamed], "renamed"),
    ):
        kinds = Counter(map(kind_of, files))
        counts += [
            f"{kinds[kind]} {kind}{'s' * (kinds[kind] != 1)} {what}"
            for kind in ("image", "caption", "other file")
            if kinds[kind]
        ]
    return f"{', '.join(counts) or 'nothing moved'}, of {change.total} files"


def _value(part: str, parts: Mapping[str, str]) -> str:
    """A setting's value as the config would say it; a default does not stand in a fingerprint."""
    text = parts.get(part)
    if text is None:
        section, _, key = part.partition(".")
        return f"{json.dumps(settings_json(SECTIONS[section]())[key])} (default)"
    inner = text.removeprefix("[").removesuffix("]")
    return inner if len(inner) <= LONGEST_VALUE else "…"
