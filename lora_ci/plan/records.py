"""What the planner may ask of the past."""

from __future__ import annotations

from typing import Protocol

from lora_ci.changes.inputs import InputFacts
from lora_ci.core.changeset import DatasetChange
from lora_ci.core.plan import Record
from lora_ci.core.step import Stage


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


class Compare(Protocol):
    """Tells how an input differs from what it was when something was made of it."""

    def __call__(self, now: InputFacts, content_id: str) -> DatasetChange | None:
        """The difference to the content of that id; None where it cannot be read any more."""
        ...
