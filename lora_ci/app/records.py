"""Records as far as they can be built upon."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lora_ci.core.clock import SystemClock
from lora_ci.core.plan import Record
from lora_ci.core.step import Stage
from lora_ci.plan.records import LayeredRecords, Records
from lora_ci.store.layered import LayeredStore, Remote
from lora_ci.store.local import LocalStore
from lora_ci.store.store import ArtifactStore

STATE = ".lora-ci"
# Below it: what is shown to people.
FORGE = "forge"
SQLITE = "sqlite:///"


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


def read_records(
    state: Path,
    store: ArtifactStore,
    *,
    ledger: str | None = None,
    repo: str | None = None,
    shared: tuple[Records, ...] = (),
) -> Records:
    """The past that a state folder has, or the ledger at a URL (of a `repo`), and what is shared.

    Makes nothing where there is none.
    """
    known: tuple[Records, ...] = shared
    if ledger or (state / "ledger.db").exists():
        from lora_ci.ledger.ledger import open_ledger  # SQLAlchemy takes longer than the plan
        from lora_ci.ledger.snapshot import Snapshot

        opened = open_ledger(ledger or ledger_url(state), SystemClock(), repo=repo)
        known = (Snapshot(opened), *shared)
    return kept_records(known, store) if known else NoRecords()


def kept_records(layers: tuple[Records, ...], store: ArtifactStore) -> Records:
    """Several pasts as one; a record whose artifacts are gone hides none that has its own."""
    return LayeredRecords(tuple(KeptRecords(layer, store) for layer in layers))


def ledger_url(state: Path) -> str:
    """SQLAlchemy's name for the ledger of a state folder."""
    return f"{SQLITE}{state / 'ledger.db'}"


def ledger_file(url: str) -> Path | None:
    """The file that a URL names so, None for a database of another kind."""
    return Path(url.removeprefix(SQLITE).partition("?")[0]) if url.startswith(SQLITE) else None


def open_store(objects: Path, remotes: tuple[Remote, ...]) -> ArtifactStore:
    """Artifacts in a folder, and where they come from that are not there."""
    local = LocalStore(objects)
    return LayeredStore(local, remotes) if remotes else local
