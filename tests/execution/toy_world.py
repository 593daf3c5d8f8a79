"""Toy steps in a ledger, and whoever moves them on: real executors, real drivers."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, select

from lora_ci.core.clock import Clock, SystemClock
from lora_ci.core.event import Event, EventKind
from lora_ci.core.fingerprint import make_fingerprint
from lora_ci.core.plan import Action, Decision, Record
from lora_ci.core.step import Outcome, Resources, Stage, StepResult, StepSpec
from lora_ci.execution.drive import Driver
from lora_ci.execution.executor import Attempt, Executor, Phase, step_folder
from lora_ci.execution.lead import Leadership, lease_of
from lora_ci.execution.tick import INLINE, Policy, Reconciler
from lora_ci.ledger import tables
from lora_ci.ledger.ledger import Ledger, open_ledger
from lora_ci.steps.folder import StepFolder
from lora_ci.store.local import LocalStore
from tests.ledgers import new_ledger

DEADLINE_S = 60.0
POLL_S = 0.02
# Nothing waits for longer than a test can.
HASTY = Policy(failures=2, delays_s=(0.0,), grace_s=1.0, denied_s=1.0)


def until(true: Callable[[], bool], what: str = "", deadline_s: float = DEADLINE_S) -> None:
    """Waits; a test that waits for too long fails."""
    deadline = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < deadline, f"waited too long: {what}"
        time.sleep(POLL_S)


class ToyWorld:
    """A state folder, its ledger, and steps in it. `root` is made, whatever it is called."""

    def __init__(self, root: Path, url: str | None = None) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self.url = url or new_ledger(root)
        self.store = LocalStore(root / "objects")
        self.ledger = self.open()
        self.loras: dict[str, str] = {}

    def open(self, clock: Clock | None = None) -> Ledger:
        """The same ledger, as another process sees it."""
        return open_ledger(self.url, clock or SystemClock())

    def spec(
        self, do: str, *, lora: str = "", timeout_s: float = DEADLINE_S, **params: object
    ) -> StepSpec:
        """A step that does so; its LoRA has the name of what it does, if no other."""
        params = {"do": do, **params}
        return StepSpec(
            stage=Stage.TRAIN, lora=lora or do or "pass", inputs={}, params=params,
            fingerprint=make_fingerprint(Stage.TRAIN, {k: str(v) for k, v in params.items()}).value,
            resources=Resources(timeout_s=timeout_s),
        )  # fmt: skip

    def folder(self, spec: StepSpec) -> StepFolder:
        return step_folder(self.root, spec.fingerprint)

    def add(self, spec: StepSpec, run: str = "run-1", repo: str = "r") -> StepSpec:
        """Puts the step into the queue."""
        self.ledger.start_run(run, Event(kind=EventKind.PUSH, repo=repo, head="h"))
        decision = Decision(
            lora=spec.lora, stage=spec.stage, action=Action.RUN, why="test",
            fingerprint=make_fingerprint(spec.stage, {k: str(v) for k, v in spec.params.items()}),
        )  # fmt: skip
        folder = self.folder(spec).path
        self.ledger.queue.add(run, decision, spec, commit="c", folder=folder, repo=repo)
        return spec

    def attempt(self, spec: StepSpec, key: str = "step-1-1") -> Attempt:
        """An attempt at the step that no ledger knows."""
        folder = self.folder(spec)
        folder.write_spec(spec)
        return Attempt(key=key, folder=folder, spec=spec)

    def reconciler(
        self, executor: Executor, *, run: str = "run-1", policy: Policy = HASTY, room: int = 16,
        clock: Clock | None = None,
    ) -> Reconciler:  # fmt: skip
        clock = clock or SystemClock()
        run_id = run if executor.name == INLINE else None
        return Reconciler(
            ledger=self.open(clock), executor=executor, store=self.store, clock=clock,
            run_id=run_id, room=room, policy=policy,
        )  # fmt: skip

    def drive(self, executor: Executor, *, run: str = "run-1", **how: Any) -> None:
        """Drives a run to its end; `how` is what `reconciler` takes."""
        reconciler = self.reconciler(executor, run=run, **how)
        clock = reconciler.clock
        alone = executor.name == INLINE
        lead = (
            None
            if alone
            else Leadership(
                queue=reconciler.ledger.queue, clock=clock, name=lease_of(executor.name)
            )
        )
        driver = Driver(reconciler=reconciler, clock=clock, watch=lambda *_: None, lead=lead)
        assert driver.drive(run)
        reconciler.ledger.close()

    def result(self, spec: StepSpec, run: str = "run-1") -> StepResult:
        found = self.ledger.queue.result(run, spec.lora, spec.stage)
        assert found is not None, f"{spec.lora} has not ended"
        return found

    def outcome(self, spec: StepSpec, run: str = "run-1") -> Outcome:
        return self.result(spec, run).outcome

    def record(self, spec: StepSpec) -> Record | None:
        return self.ledger.find(spec.fingerprint)

    def attempts(self, spec: StepSpec) -> list[dict[str, object]]:
        """What the ledger has of the attempts at a step, oldest first."""
        engine = create_engine(self.url)
        query = (
            select(tables.attempt)
            .join(tables.step, tables.step.c.id == tables.attempt.c.step_id)
            .where(tables.step.c.fingerprint == spec.fingerprint)
            .order_by(tables.attempt.c.started_at)
        )
        with engine.connect() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        engine.dispose()
        return rows


def wait_for_end(executor: Executor, handle: str) -> None:
    until(lambda: executor.phases([handle])[handle] is Phase.ENDED, f"the end of {handle}")


def wait_for_progress(folder: StepFolder) -> None:
    until(lambda: folder.read_progress() is not None, f"progress in {folder.path}")


def processes_below(root: Path) -> Iterator[int]:
    """Processes other than this one that have a path below `root` among their arguments."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(root) in command:
                yield int(entry.name)


@contextmanager
def toy_world(root: Path, url: str | None = None) -> Iterator[ToyWorld]:
    """A world that leaves no process behind, also where a test of it fails."""
    world = ToyWorld(root, url)
    try:
        yield world
    finally:
        world.ledger.close()
        for pid in processes_below(root):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
