"""What the planner may ask of the past."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Protocol

from lora_ci.changes.inputs import InputFacts
from lora_ci.core.changeset import DatasetChange
from lora_ci.core.plan import Record
from lora_ci.core.step import Outcome, Stage

MOST_PASSED = 20


class Records(Protocol):
    """Results by fingerprint. Only `passed`, `failed` and `inconclusive` results are kept."""

    def find(self, fingerprint: str) -> Record | None:
        """The record under this fingerprint."""
        ...

    def passed(self, lora: str | None, stage: Stage) -> tuple[Record, ...]:
        """The passed records of a stage of a LoRA (None: of any), newest first, at most 20."""
        ...

    def finished_since(self, moment: str) -> tuple[Record, ...]:
        """Records finished at or after a moment (UTC, ISO 8601 with microseconds)."""
        ...


@dataclass(frozen=True, slots=True)
class LayeredRecords:
    """Several pasts as one: what was made last under a fingerprint counts. Implements `Records`.

    Of the same moment the first layer's counts.
    """

    layers: tuple[Records, ...]

    def find(self, fingerprint: str) -> Record | None:
        found = (layer.find(fingerprint) for layer in self.layers)
        return max(
            (record for record in found if record), key=attrgetter("finished_at"), default=None
        )

    def passed(self, lora: str | None, stage: Stage) -> tuple[Record, ...]:
        if len(self.layers) == 1:
            return self.layers[0].passed(lora, stage)
        last = self._last(layer.passed(lora, stage) for layer in self.layers)
        passed = (record for record in last if record.result.outcome is Outcome.PASSED)
        return tuple(sorted(passed, key=attrgetter("finished_at"), reverse=True)[:MOST_PASSED])

    def finished_since(self, moment: str) -> tuple[Record, ...]:
        if len(self.layers) == 1:
            return self.layers[0].finished_since(moment)
        last = self._last(layer.finished_since(moment) for layer in self.layers)
        return tuple(sorted(last, key=attrgetter("finished_at")))

    def _last(self, answers: Iterable[tuple[Record, ...]]) -> list[Record]:
        """What counts under the fingerprints of some answers: another layer may know better."""
        fingerprints = dict.fromkeys(record.fingerprint for some in answers for record in some)
        found = (self.find(fingerprint) for fingerprint in fingerprints)
        return [record for record in found if record]


class Compare(Protocol):
    """Tells how an input differs from what it was when something was made of it."""

    def __call__(self, now: InputFacts, content_id: str) -> DatasetChange | None:
        """The difference to the content of that id; None where it cannot be read any more."""
        ...
