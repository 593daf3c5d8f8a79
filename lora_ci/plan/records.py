"""What the planner may ask of the past."""

from __future__ import annotations

from typing import Protocol

from lora_ci.core.plan import Record
from lora_ci.core.step import Stage


class Records(Protocol):
    """Results by fingerprint. Only `passed`, `failed` and `inconclusive` results are kept."""

    def find(self, fingerprint: str) -> Record | None:
        """The record under this fingerprint."""
        ...

    def passed(self, lora: str, stage: Stage) -> tuple[Record, ...]:
        """The passed records of a stage, newest first, at most 20."""
        ...
