"""Records as far as they can be built upon."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lora_ci.core.clock import SystemClock
from lora_ci.core.plan import Record
from lora_ci.core.step import Stage
from lora_ci.plan.records import Records
from lora_ci.store.local import LocalStore
from lora_ci.store.store import ArtifactStore

STATE = ".lora-ci"


@dataclass(frozen=True, slots=True)
class KeptRecords:
    """The records whose artifacts are still in the store; the others are made anew."""

    records: Records
    store: ArtifactStore

    def find(self, fingerprint: str) -> Record | None:
        record = self.records.find(fingerprint)
        if record and all(self.store.has(a.sha256) for a in record.result.artifacts):
            return record
        return None

    def passed(self, lora: str | None, stage: Stage) -> tuple[Record, ...]:
        return self.records.passed(lora, stage)

    def finished_since(self, moment: str) -> tuple[Record, ...]:
        return self.records.finished_since(moment)


class NoRecords:
    """The past of a repository that has none."""

    def find(self, fingerprint: str) -> Record | None:
        return None

    def passed(self, lora: str | None, stage: Stage) -> tuple[Record, ...]:
        return ()

    def finished_since(self, moment: str) -> tuple[Record, ...]:
        return ()


def read_records(root: Path) -> Records:
    """The past of what lies at `root`; makes nothing where there is none."""
    state = root / STATE
    if not (state / "ledger.db").exists():
        return NoRecords()
    from lora_ci.ledger.ledger import open_ledger  # SQLAlchemy takes longer than the plan
    from lora_ci.ledger.snapshot import Snapshot

    ledger = open_ledger(ledger_url(state), SystemClock())
    return KeptRecords(Snapshot(ledger), LocalStore(state / "objects"))


def ledger_url(state: Path) -> str:
    """SQLAlchemy's name for the ledger of a state folder."""
    return f"sqlite:///{state / 'ledger.db'}"
