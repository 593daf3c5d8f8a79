"""Several drivers of toy steps, killed with their steps at random points, and what must hold."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from sqlalchemy import create_engine, select

from lora_ci.core.step import Outcome, StepSpec
from lora_ci.execution.local import MARK
from lora_ci.ledger import tables
from tests.execution.toy_world import ToyWorld, processes_below, until

REPOSITORY = Path(__file__).resolve().parents[2]
# A driver dies at one of its first lines, of about as many as it takes to drive a run.
LINES = 8000
# For all that is not killed; each point has as long again as it takes to start a driver.
GRACE_S, POINT_S = 120.0, 3.0


@dataclass
class Killing:
    """`drivers` runs at a time, each driven by a process of its own, until `points` were killed."""

    world: ToyWorld
    points: int
    seed: int = 0
    drivers: int = 3
    killed: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    attempts: int = 0
    _random: random.Random = field(default_factory=random.Random)
    _driven: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _specs: dict[str, list[StepSpec]] = field(default_factory=dict)
    # Why a step may have been begun again: how often it was killed, or told to end.
    _steps: Counter[str] = field(default_factory=Counter)
    _stopped: set[str] = field(default_factory=set)

    def kill(self) -> None:
        """Starts, kills and starts again, until all has been killed that was to be; then waits."""
        self._random.seed(self.seed)
        deadline = time.monotonic() + GRACE_S + POINT_S * self.points
        try:
            while self.killed.total() < self.points:
                assert time.monotonic() < deadline, f"only {self.killed} died in time"
                self._collect()
                while len(self._unended()) < self.drivers:
                    self._add_run()
                self._start(mortal=True)
                time.sleep(self._random.uniform(0.02, 0.8))
                self._strike()
            until(self._is_through, "the end of all runs", GRACE_S)
        finally:
            for process in self._driven.values():
                process.kill()
                process.wait()

    def check(self) -> None:
        """What must hold of steps, records and processes, whatever was killed."""
        for run, specs in self._specs.items():
            assert not self.world.ledger.queue.unfinished(run)
            for spec in specs:
                outcome = self.world.outcome(spec, run)
                wanted = Outcome.FAILED if spec.params["do"] == "fail" else Outcome.PASSED
                stopped = run in self._stopped and outcome is Outcome.INTERRUPTED
                assert outcome is wanted or stopped, (run, spec.lora, outcome)
        for spec in {s.fingerprint: s for specs in self._specs.values() for s in specs}.values():
            self._check_work(spec)
        self._check_rows()
        assert not list(processes_below(self.world.root))
        assert not list(_marked(set(self._keys())))

    # Processes

    def _collect(self) -> None:
        """Counts the drivers that died, and forgets those that are through."""
        for run, process in list(self._driven.items()):
            code = process.poll()
            if code is not None:
                assert code in (0, -signal.SIGKILL), f"the driver of {run} ended with {code}"
                self.killed["driver"] += code != 0
                del self._driven[run]

    def _start(self, *, mortal: bool) -> None:
        """Sees to it that each run has a driver; most of the mortal ones kill themselves."""
        for run in self._unended():
            if run not in self._driven:
                dies = mortal and self._random.random() < 0.4
                command = [sys.executable, "-m", "tests.execution.killed_driver"]
                command += [str(self.world.root), self.world.url, run]
                command += ["--line", str(self._random.randint(1, LINES))] if dies else []
                self._driven[run] = subprocess.Popen(command, cwd=REPOSITORY)

    def _is_through(self) -> bool:
        """True once every run has ended, and its driver too."""
        self._collect()
        self._start(mortal=False)
        return not self._driven

    def _add_run(self) -> None:
        """A run of work of its own, work that others have too, and a step that fails."""
        run = f"run-{len(self._specs) + 1}"
        others = ("fail", "daemon", "words", "")
        self._specs[run] = [
            self.world.spec("journal", lora="own", units=self._random.randint(5, 40), run=run),
            self.world.spec("journal", lora="shared", units=20, shared=len(self._specs) // 3),
            self.world.spec(others[len(self._specs) % len(others)], lora="other", run=run),
        ]
        for spec in self._specs[run]:
            self.world.add(spec, run, repo=run)

    def _strike(self) -> None:
        """Kills a driver, a step, or both at once."""
        what = self._random.choice(("driver", "step", "step", "step", "both"))
        if what in ("driver", "both"):
            living = [p for p in self._driven.values() if p.poll() is None]
            if living:
                self._random.choice(living).kill()
        if what in ("step", "both"):
            steps = [pid for pid in processes_below(self.world.root) if _is_step(pid)]
            if steps and (folder := _kill_step(self._random.choice(steps))):
                self._steps[folder] += 1
                self.killed["step"] += 1
        if self._random.random() < 0.05:
            self._stop(self._random.choice(self._unended() or [""]))

    def _stop(self, run: str) -> None:
        """Somebody cancels a run."""
        self.world.ledger.queue.stop(run, "cancelled")
        self._stopped.add(run)
        for spec in self._specs.get(run, ()):
            self._steps[str(self.world.folder(spec).path)] += 1

    def _unended(self) -> list[str]:
        return [run for run in self._specs if self.world.ledger.queue.unfinished(run)]

    # What must hold

    def _check_work(self, spec: StepSpec) -> None:
        folder, record = self.world.folder(spec), self.world.record(spec)
        if record is None:
            # All the runs that wanted it were cancelled.
            runs = {run for run, specs in self._specs.items() for s in specs if s == spec}
            assert runs <= self._stopped
            return
        assert record.result == folder.read_result(spec.fingerprint)
        for artifact in record.result.artifacts:
            assert self.world.store.get(artifact.sha256).read_text() == "made"
        kills = self._steps[str(folder.path)]
        if record.result.outcome is Outcome.PASSED:
            # Only the death of a step is a reason to begin it again.
            assert record.result.metrics["calls"] <= 1 + kills, (spec.params, kills)
        journal = folder.path / "journal"
        if spec.params["do"] == "journal":
            lines = [line.split() for line in journal.read_text().splitlines()]
            words = [word for word, _ in lines]
            assert words.count("begin") <= 1 + kills, (lines, kills)
            for (_, pid), (word, next_pid) in pairwise(lines):
                # Nobody writes after another has begun.
                assert next_pid == pid or word == "begin", lines

    def _check_rows(self) -> None:
        engine = create_engine(self.world.url)
        attempt, step, record = tables.attempt, tables.step, tables.record
        with engine.connect() as connection:
            attempts = connection.execute(select(attempt)).mappings().all()
            steps = connection.execute(select(step)).mappings().all()
            records = connection.execute(select(record.c.fingerprint)).scalars().all()
            if engine.dialect.name == "sqlite":
                assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        engine.dispose()
        assert {row["state"] for row in attempts} == {"ended"}
        self.steps, self.attempts = len(steps), len(attempts)
        assert len(records) == len(set(records))
        for row in steps:
            own = [a["outcome"] for a in attempts if a["step_id"] == row["id"]]
            assert row["attempts"] == len(own)
            if row["run_id"] not in self._stopped:
                assert row["failures"] == own.count("error")
            # It ended with its last attempt, or with the record of another run's.
            assert sum(outcome in ("passed", "failed") for outcome in own) <= 1

    def _keys(self) -> Iterator[str]:
        engine = create_engine(self.world.url)
        with engine.connect() as connection:
            yield from connection.execute(select(tables.attempt.c.key)).scalars()
        engine.dispose()


def _is_step(pid: int) -> bool:
    with suppress(OSError):
        return b"toy.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _kill_step(pid: int) -> str | None:
    """Kills a step's process; its folder, None where it was gone already."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return None
    place = next((i for i, part in enumerate(arguments) if part.endswith("toy.py")), None)
    return arguments[place + 1] if place is not None else None


def _marked(keys: set[str]) -> Iterator[int]:
    """Processes that have the mark of one of the attempts."""
    mark = re.compile(rb"(?:^|\0)" + MARK.encode() + rb"=([^\0.]*)")
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                found = mark.search((entry / "environ").read_bytes())
                if found and found[1].decode() in keys:
                    yield int(entry.name)
