"""The past as one plan needs it: the newest results at once, instead of a query for each stage."""

from __future__ import annotations

from functools import cached_property

from lora_ci.core.plan import Record
from lora_ci.core.step import Outcome, Stage
from lora_ci.ledger.ledger import Ledger


class Snapshot:
    """Records as they are when the first is asked for. Implements `plan.records.Records`.

    Almost all that a plan finds is the newest of its LoRA and stage; what is not is looked up.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @cached_property
    def _newest(self) -> tuple[Record, ...]:
        return self._ledger.newest()

    @cached_property
    def _by_fingerprint(self) -> dict[str, Record]:
        return {record.fingerprint: record for record in self._newest}

    @cached_property
    def _have_passed(self) -> set[tuple[str, Stage]]:
        passed = (r for r in self._newest if r.result.outcome is Outcome.PASSED)
        return {(record.lora, record.stage) for record in passed}

    def find(self, fingerprint: str) -> Record | None:
        return self._by_fingerprint.get(fingerprint) or self._ledger.find(fingerprint)

    def passed(self, lora: str | None, stage: Stage) -> tuple[Record, ...]:
        if lora is not None and (lora, stage) not in self._have_passed:
            return ()
        return self._ledger.passed(lora, stage)

    def finished_since(self, moment: str) -> tuple[Record, ...]:
        return self._ledger.finished_since(moment)
