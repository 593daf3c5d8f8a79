"""Any order of ends, losses, delays, stops, deaths and jumps of the clock leaves all in order."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import delete

from lora_ci.core.event import Event, EventKind
from lora_ci.core.fingerprint import make_fingerprint
from lora_ci.core.plan import Action, Decision
from lora_ci.core.step import Outcome, Resources, Stage, StepResult, StepSpec
from lora_ci.execution.executor import Attempt, Phase, step_folder
from lora_ci.execution.lead import Leadership
from lora_ci.execution.tick import Policy, Reconciler
from lora_ci.ledger import tables
from lora_ci.ledger.database import Database, open_database
from lora_ci.ledger.ledger import Ledger
from lora_ci.ledger.queue import OpenAttempt, Queue, Waiting
from lora_ci.steps.main import FINAL
from lora_ci.store.local import LocalStore
from tests.ledgers import new_ledger

ROOM, LAG_S, TIMEOUT_S = 2, 4.0, 500.0
POLICY = Policy(
    failures=3, interruptions=6, delays_s=(0.0, 5.0), grace_s=10.0, denied_s=10.0, patience_s=15.0
)
FOLDER = tempfile.TemporaryDirectory(prefix="model-")
Row = Mapping[str, Any]
# Processes of another machine: only their numbers tell whether they live.
HOLDERS = ("elsewhere:1:1", "elsewhere:2:1")


class JumpingClock:
    """Stands still until it is told; the wall clock may jump."""

    def __init__(self) -> None:
        self.passed, self.wall = 0.0, datetime(2026, 11, 25, 12, tzinfo=UTC)

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds
        self.wall += timedelta(seconds=seconds)

    def jump(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)


@dataclass
class Imagined:
    """An executor whose attempts end when a test says so; results are real files."""

    clock: JumpingClock
    name: str = "imagined"
    lag_s: float = LAG_S
    started: dict[str, Attempt] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    deaf: set[str] = field(default_factory=set)
    under_way: dict[str, StepResult] = field(default_factory=dict)
    wrote: dict[str, Outcome] = field(default_factory=dict)
    was_late: set[str] = field(default_factory=set)

    def submit(self, attempt: Attempt) -> str:
        if attempt.key not in self.started:
            self.started[attempt.key] = attempt
            if (found := read(attempt)) and found.outcome in FINAL:
                # As `exec_step` does: what is finished is not done again.
                self.end(attempt.key, None)
                self.wrote[attempt.key] = found.outcome
        return attempt.key

    def phases(self, handles: Collection[str]) -> Mapping[str, Phase]:
        return {h: Phase.ENDED if h in self.ended else Phase.RUNNING for h in handles}

    def cancel(self, handle: str, *, hard: bool) -> None:
        if handle not in self.ended | self.deaf:
            self.end(handle, None if hard else Outcome.INTERRUPTED)

    def clear(self, handle: str) -> None:
        assert handle in self.started

    def running(self) -> list[str]:
        return [key for key in self.started if key not in self.ended]

    def end(self, key: str, outcome: Outcome | None) -> None:
        """An attempt ends, with a result if there is an outcome."""
        self.ended.add(key)
        if outcome is not None:
            self.write(key, StepResult(outcome=outcome))

    def write(self, key: str, result: StepResult) -> None:
        attempt = self.started[key]
        if (found := read(attempt)) and found.outcome in FINAL:
            return
        self.wrote[key] = result.outcome
        attempt.folder.write_result(attempt.spec.fingerprint, result)
        moment = self.clock.now().timestamp()
        os.utime(attempt.folder.path / "result.json", (moment, moment))


def read(attempt: Attempt) -> StepResult | None:
    return attempt.folder.read_result(attempt.spec.fingerprint)


class HeldQueue(Queue):
    """Answers once with what it was asked before: a process that was slow."""

    attempts: tuple[OpenAttempt, ...] | None = None
    due: tuple[Waiting, ...] | None = None

    def hold(self) -> None:
        self.attempts, self.due = super().open_attempts(), super().waiting()

    def open_attempts(self) -> tuple[OpenAttempt, ...]:
        held, self.attempts = self.attempts, None
        return super().open_attempts() if held is None else held

    def waiting(self, *, run_id: str | None = None, most: int = 64) -> tuple[Waiting, ...]:
        held, self.due = self.due, None
        return super().waiting(run_id=run_id, most=most) if held is None else held


class Fleet(RuleBasedStateMachine):
    """Two processes move the steps of some runs on, each of which may be slow, or die."""

    @initialize()
    def begin(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="fleet-"))
        self.clock = JumpingClock()
        self.database = empty_database(self.clock)
        self.reader = sqlite3.connect(Path(FOLDER.name) / "ledger.db")
        self.reader.row_factory = sqlite3.Row
        self.executor = Imagined(self.clock)
        self.ledger = Ledger(self.database)
        self.processes = [self.process(which) for which in (0, 1)]
        self.states: dict[int, str] = {}
        self.results: dict[int, str] = {}
        self.runs: list[str] = []
        self.gone: set[str] = set()
        # What a stopped run had begun when it was stopped.
        self.stopped: dict[str, set[str]] = {}
        self.set_back = False
        # As they were after the step before.
        self.known: set[str] = set()
        self.records: dict[str, str] = {}
        self.start_run([0, 1])
        self.start_run([1, 2])

    def process(self, which: int) -> tuple[Reconciler, Leadership]:
        ledger = Ledger(self.database)
        ledger.queue = HeldQueue(self.database)
        reconciler = Reconciler(
            ledger=ledger, executor=self.executor, store=LocalStore(self.root / "objects"),
            clock=self.clock, room=ROOM, policy=POLICY,
        )  # fmt: skip
        lead = Leadership(queue=ledger.queue, clock=self.clock, name="steps", holder=HOLDERS[which])
        return reconciler, lead

    def teardown(self) -> None:
        if not hasattr(self, "root"):
            return
        try:
            self.comes_to_an_end()
        finally:
            self.reader.close()
            shutil.rmtree(self.root)

    # What happens

    @precondition(lambda self: len(self.runs) < 6)
    @rule(works=st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True))
    def start_run(self, works: list[int]) -> None:
        run = f"run-{len(self.runs)}"
        self.runs.append(run)
        self.ledger.start_run(run, Event(kind=EventKind.PUSH, repo="r", head="h"))
        for work in works:
            fingerprint = make_fingerprint(Stage.TRAIN, {"work": str(work)})
            decision = Decision(
                lora=f"lora-{work}", stage=Stage.TRAIN, action=Action.RUN, why="",
                fingerprint=fingerprint,
            )  # fmt: skip
            spec = StepSpec(
                stage=Stage.TRAIN, lora=f"lora-{work}", fingerprint=fingerprint.value, inputs={},
                params={}, resources=Resources(timeout_s=TIMEOUT_S),
            )  # fmt: skip
            folder = step_folder(self.root, fingerprint.value).path
            self.ledger.queue.add(run, decision, spec, commit="c", folder=folder, repo=run)
        self.ledger.queue.beat(run, "elsewhere:9:9")

    @rule(which=st.integers(0, 1), waits_s=st.sampled_from([0.0, 0.0, 1.0, 6.0, 20.0]))
    def turn(self, which: int, waits_s: float = 0.0) -> None:
        self.clock.sleep(waits_s)
        reconciler, lead = self.processes[which]
        self.beat()
        if lead.lead():
            before = len(self.open_keys())
            reconciler.tick()
            assert len(self.open_keys()) <= max(ROOM, before)

    @rule(which=st.integers(0, 1), outcomes=st.lists(st.sampled_from([None, *Outcome]), max_size=2))
    def go_on(self, which: int, outcomes: list[Outcome | None]) -> None:
        """The usual: some end, and somebody looks."""
        for key, outcome in zip(self.executor.running(), outcomes, strict=False):
            self.executor.end(key, outcome)
        self.turn(which, LAG_S + 1)

    @rule(
        which=st.integers(0, 1),
        meanwhile=st.lists(st.sampled_from(["turn", "end", "end", "stop"]), max_size=3),
        data=st.data(),
    )
    def turn_late(self, which: int, meanwhile: list[str], data: st.DataObject) -> None:
        """One that takes itself for the leader, and what happened since it looked."""
        reconciler, _ = self.processes[which]
        reconciler.ledger.queue.hold()
        for what in meanwhile:
            if what == "turn":
                self.turn(1 - which)
            elif what == "end" and self.executor.running():
                self.end(data)
            elif what == "stop":
                self.stop(data)
        reconciler.tick()

    @precondition(lambda self: self.executor.running())
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(self.executor.running()))
        outcome = data.draw(st.sampled_from([None, *Outcome]))
        self.executor.end(key, outcome)

    @precondition(lambda self: self.executor.running())
    @rule(data=st.data(), outcome=st.sampled_from(Outcome), waits_s=st.sampled_from([0.0, 6.0]))
    def end_before_the_result(self, data: st.DataObject, outcome: Outcome, waits_s: float) -> None:
        key = data.draw(st.sampled_from(self.executor.running()))
        self.executor.end(key, None)
        self.executor.under_way[key] = StepResult(outcome=outcome)
        self.turn(0, waits_s)

    @precondition(lambda self: self.executor.under_way)
    @rule(data=st.data())
    def result_arrives(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.executor.under_way)))
        self.executor.write(key, self.executor.under_way.pop(key))
        if key not in self.open_keys():
            self.executor.was_late.add(key)

    @precondition(lambda self: self.executor.running())
    @rule(data=st.data())
    def linger_with_a_result(self, data: st.DataObject) -> None:
        """It has a result, and goes on, whatever it is asked."""
        key = data.draw(st.sampled_from(self.executor.running()))
        self.executor.write(key, StepResult(outcome=Outcome.PASSED))
        self.executor.deaf.add(key)

    @precondition(lambda self: len(self.stopped) * 3 < len(self.runs))
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        run = data.draw(st.sampled_from(self.runs))
        self.ledger.queue.stop(run, "stopped")
        self.stopped.setdefault(run, begun_by(run, self.rows("step"), self.rows("attempt")))

    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        if data.draw(st.booleans()):
            self.gone.add(data.draw(st.sampled_from(self.runs)))

    @rule(which=st.integers(0, 1))
    def restart(self, which: int) -> None:
        self.processes[which] = self.process(which)

    @rule()
    def take_too_long(self) -> None:
        self.clock.sleep(TIMEOUT_S + 1)

    @rule(seconds=st.sampled_from([-3600.0, 3600.0]))
    def jump(self, seconds: float) -> None:
        self.clock.jump(seconds)
        # What was done before may look later than what is asked for now: it is found in the folder.
        self.set_back = self.set_back or seconds < 0

    def beat(self) -> None:
        for run in self.runs:
            if run not in self.gone:
                self.ledger.queue.beat(run, "elsewhere:9:9")

    # What holds

    @invariant()
    def all_is_in_order(self) -> None:
        steps, attempts = self.rows("step"), self.rows("attempt")
        for step in steps:
            own = [a for a in attempts if a["step_id"] == step["id"]]
            self.it_went_forward(step)
            attempts_are_counted(step, own)
            for attempt in own:
                self.is_told(attempt, step["fingerprint"])
        running = [step["fingerprint"] for step in steps if step["state"] == "running"]
        assert len(running) == len(set(running)), "work is under way twice"
        self.what_is_known_is_not_done_again(steps, attempts)
        self.records_are_what_steps_came_to(steps)
        for run, begun in self.stopped.items():
            assert begun_by(run, steps, attempts) <= begun, "something of a stopped run has begun"
            assert "waiting" not in {s["state"] for s in steps if s["run_id"] == run}

    def it_went_forward(self, step: Row) -> None:
        if self.states.get(step["id"]) == "ended":
            assert (step["state"], step["result"]) == ("ended", self.results[step["id"]])
        assert (step["state"] == "ended") == (step["result"] is not None)
        self.states[step["id"]], self.results[step["id"]] = step["state"], step["result"]

    def is_told(self, attempt: Row, fingerprint: str) -> None:
        """An attempt came to what it wrote, or what one before it wrote too late."""
        if attempt["state"] == "open":
            return
        wrote = self.executor.wrote
        if attempt["outcome"] in FINAL:
            assert attempt["outcome"] in {
                outcome for key, outcome in wrote.items()
                if self.executor.started[key].spec.fingerprint == fingerprint
            }  # fmt: skip
        else:
            key = attempt["key"]
            assert wrote.get(key) not in FINAL or key in self.executor.was_late

    def what_is_known_is_not_done_again(self, steps: list[Row], attempts: list[Row]) -> None:
        for step in steps:
            own = {a["key"] for a in attempts if a["step_id"] == step["id"]}
            known_at = "" if self.set_back else self.records.get(step["fingerprint"], "")
            assert known_at <= step["queued_at"] or own <= self.known, "work is done again"
        self.known = {a["key"] for a in attempts}
        self.records = {row["fingerprint"]: row["finished_at"] for row in self.rows("record")}

    def records_are_what_steps_came_to(self, steps: list[Row]) -> None:
        kept: dict[str, set[str]] = {}
        for step in steps:
            if any(f'"outcome":"{outcome}"' in (step["result"] or "") for outcome in FINAL):
                kept.setdefault(step["fingerprint"], set()).add(step["result"])
        records = {row["fingerprint"]: row["result"] for row in self.rows("record")}
        assert records.keys() == kept.keys()
        assert all(result in kept[fingerprint] for fingerprint, result in records.items())

    def rows(self, table: str) -> list[Row]:
        return [dict(row) for row in self.reader.execute(f"SELECT * FROM {table}")]

    def open_keys(self) -> set[str]:
        return {row["key"] for row in self.rows("attempt") if row["state"] == "open"}

    def comes_to_an_end(self) -> None:
        """Once nothing goes wrong any more, every run that somebody drives ends."""
        self.executor.deaf.clear()
        for _ in range(60):
            for key in self.executor.running():
                self.executor.end(key, Outcome.PASSED)
            self.clock.sleep(20.0)
            self.turn(0)
            self.turn(1)
            left = [run for run in self.runs if self.ledger.queue.unfinished(run)]
            if set(left) <= self.gone - self.stopped.keys():
                break
        else:
            raise AssertionError(f"{left} did not end")
        self.all_is_in_order()


def begun_by(run: str, steps: list[Row], attempts: list[Row]) -> set[str]:
    own = {step["id"] for step in steps if step["run_id"] == run}
    return {attempt["key"] for attempt in attempts if attempt["step_id"] in own}


def attempts_are_counted(step: Row, own: list[Row]) -> None:
    assert [a["state"] for a in own].count("open") == (step["state"] == "running")
    assert step["attempts"] == len(own) <= POLICY.interruptions
    errors = [a["outcome"] for a in own].count("error")
    if step["state"] == "ended":
        assert errors <= POLICY.failures
    else:
        assert step["failures"] == errors < POLICY.failures


@cache
def shared_database(folder: tempfile.TemporaryDirectory) -> Database:
    return open_database(new_ledger(Path(folder.name)), JumpingClock())


def empty_database(clock: JumpingClock) -> Database:
    """One for all examples, emptied, as it takes long to open one."""
    database = shared_database(FOLDER)
    database._clock = clock
    with database.transaction() as connection:
        for table in reversed(tables.metadata.sorted_tables):
            connection.execute(delete(table))
    return database


Fleet.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=80,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
test_any_order_of_events = pytest.mark.slow(Fleet.TestCase)


def test_nothing_begins_in_a_run_that_was_stopped_while_somebody_looked(tmp_path):
    fleet = Fleet()
    fleet.begin()
    fleet.turn(0)
    for key in fleet.executor.running():
        fleet.executor.end(key, Outcome.ERROR)
    late, _ = fleet.processes[1]
    late.ledger.queue.hold()
    fleet.ledger.queue.stop("run-0", "stopped")
    late.tick()
    fleet.turn(0)
    assert fleet.ledger.queue.unfinished("run-0") == ()
    fleet.teardown()
