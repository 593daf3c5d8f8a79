"""A ledger and its store with a past, made step by step on a clock that is set."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lora_ci.app.clean_up import Cleaned, CleanUp, Places
from lora_ci.app.examine import Examined, Examiner
from lora_ci.core.artifact import Artifact
from lora_ci.core.digest import sha256_bytes
from lora_ci.core.event import Event, EventKind
from lora_ci.core.fingerprint import make_fingerprint
from lora_ci.core.plan import Action, Decision, Record
from lora_ci.core.step import Outcome, Stage, StepInput, StepResult, StepSpec
from lora_ci.execution.executor import step_folder
from lora_ci.execution.lead import is_gone
from lora_ci.ledger.checking import Checks
from lora_ci.ledger.database import Database, open_database
from lora_ci.ledger.ledger import Ledger
from lora_ci.ledger.retention import Retention
from lora_ci.store.local import LocalStore

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
ADAPTER = "adapter.safetensors"


@dataclass
class SetClock:
    """Stands still where it is set; sleeping moves it on."""

    at: datetime = NOW
    slept_s: float = 0.0

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.slept_s

    def sleep(self, seconds: float) -> None:
        self.slept_s += seconds


class Kept:
    """What is on record. Names of artifacts and their bytes are given; times are days ago."""

    def __init__(self, folder: Path, url: str) -> None:
        self.state, self.url, self.clock = folder, url, SetClock()
        self.store = LocalStore(folder / "objects")
        self.database: Database = open_database(url, self.clock)
        self.ledger = Ledger(self.database)
        self.retention = Retention(self.database, is_gone)

    def run(self, name: str, days_ago: float, *, over: bool = True) -> str:
        """A run that began then."""
        self.set(days_ago)
        event = Event(kind=EventKind.PUSH, repo="r", head="h")
        self.ledger.start_run(name, event)
        if over:
            self._end_run(name)
        return name

    def _end_run(self, name: str) -> None:
        from sqlalchemy import update

        from lora_ci.ledger import tables

        with self.database.transaction() as connection:
            connection.execute(
                update(tables.run).where(tables.run.c.id == name).values(outcome=Outcome.PASSED)
            )

    def step(
        self,
        run: str,
        lora: str,
        stage: Stage,
        days_ago: float,
        made: Mapping[str, bytes] = {},
        *,
        outcome: Outcome | None = Outcome.PASSED,
        **parts: str,
    ) -> Record | None:
        """A step and the record of it; one with no outcome still waits."""
        self.set(days_ago)
        queue, fingerprint = self.ledger.queue, make_fingerprint(stage, {"of": lora, **parts})
        decision = Decision(
            lora=lora, stage=stage, action=Action.RUN, why="test", fingerprint=fingerprint
        )
        inputs = {
            name: StepInput(content_id=sha256, sha256=sha256)
            for name, sha256 in parts.items()
            if len(sha256) == 64
        }
        spec = StepSpec(
            stage=stage, lora=lora, fingerprint=fingerprint.value, inputs=inputs, params={}
        )
        folder = step_folder(self.state, spec.fingerprint)
        queue.add(run, decision, spec, commit="c", folder=folder.path, repo="r")
        if outcome is None:
            return None
        (step,) = (s for s in queue.unfinished(run) if s.fingerprint == spec.fingerprint)
        key = queue.begin([(step, {})], executor="inline")[0]
        (attempt,) = (a for a in queue.open_attempts() if a.key == key)
        artifacts = tuple(
            Artifact(
                name=name,
                sha256=self.put(data, days_ago),
                size_bytes=len(data),
                media_type="application/octet-stream",
            )
            for name, data in made.items()
        )
        result = StepResult(outcome=outcome, artifacts=artifacts)
        queue.finish(attempt, result, log=self.put(b"log of " + lora.encode(), days_ago))
        return self.ledger.find(spec.fingerprint)

    def put(self, data: bytes, days_ago: float) -> str:
        """An artifact that was last used then."""
        file = self.state / "made"
        file.write_bytes(data)
        sha256 = self.store.put(file)
        self.age(self.path(sha256), days_ago)
        return sha256

    def age(self, path: Path, days_ago: float) -> None:
        """Makes a file or a folder as old as that."""
        at = (NOW - timedelta(days=days_ago)).timestamp()
        os.utime(path, (at, at))

    def set(self, days_ago: float) -> None:
        self.clock.at = NOW - timedelta(days=days_ago)

    def path(self, sha256: str) -> Path:
        return self.store.root / sha256[:2] / sha256[2:]

    def has(self, data: bytes) -> bool:
        return self.path(sha256_bytes(data)).exists()

    def clean_up(
        self, days: int = 30, *, dry_run: bool = False, ours: bool = True, now: datetime = NOW
    ) -> Cleaned:
        self.clock.at = now
        places = Places(state=self.state, objects=self.store.root, ours=ours)
        work = CleanUp(
            retention=self.retention, places=places, clock=self.clock, dry_run=dry_run,
            progress=lambda *_: None,
        )  # fmt: skip
        return work.run(timedelta(days=days))

    def examine(
        self, *, deep: bool = False, repair: bool = False, gone: tuple[str, ...] = ()
    ) -> Examined:
        self.clock.at = NOW
        examiner = Examiner(
            checks=Checks(self.database), retention=self.retention, objects=self.store.root,
            clock=self.clock,
        )  # fmt: skip
        return examiner.examine(deep=deep, repair=repair, progress=lambda *_: None, gone=gone)

    def rules(self, **how: bool) -> list[str]:
        """The rules of all findings, sorted."""
        return sorted(finding.rule for finding in self.examine(**how).findings)
