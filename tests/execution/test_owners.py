"""A run goes on as long as its process does; what a dead one left is given up."""

import os
import threading
from pathlib import Path

import pytest

from lora_ci.core.clock import SystemClock
from lora_ci.core.step import Outcome
from lora_ci.execution import drive
from lora_ci.execution.drive import Driver
from lora_ci.execution.inline import InlineExecutor
from lora_ci.execution.lead import FORGOTTEN, Watched, this_process
from lora_ci.execution.tick import Policy, Reconciler
from lora_ci.ledger.queue import StepState
from tests.execution.test_model import JumpingClock
from tests.execution.toy import TABLE
from tests.execution.toy_world import ToyWorld, until

LONG_S = 10 * Policy().patience_s


class Watching:
    """Another run's reconciler, in time that passes when it is told."""

    def __init__(self, world: ToyWorld) -> None:
        self.world, self.clock = world, JumpingClock()
        executor = InlineExecutor(world.store, world.root / "cache", table=TABLE)
        self.reconciler = Reconciler(
            ledger=world.open(), executor=executor, store=world.store, clock=self.clock,
            run_id="run-2",
        )  # fmt: skip

    def look(self) -> StepState | None:
        """What it takes the step of the first run for, after it has watched it for long."""
        self.reconciler.tick()
        self.clock.sleep(LONG_S)
        self.reconciler.tick()
        left = self.world.ledger.queue.unfinished("run-1")
        return left[0].state if left else None


@pytest.fixture
def world(tmp_path) -> ToyWorld:
    """A run with one step, which has begun in a process of its own."""
    world = ToyWorld(tmp_path)
    world.add(world.spec("journal", units=20))
    return world


def begin(world: ToyWorld, owner: str) -> None:
    (step,) = world.ledger.queue.unfinished("run-1")
    world.ledger.queue.beat("run-1", owner)
    world.ledger.queue.begin([(step, {})], executor="inline")


def test_a_step_in_a_process_of_this_machine_that_lives_is_left_alone(world):
    # It trains for hours, and says nothing meanwhile.
    begin(world, this_process())
    assert Watching(world).look() is StepState.RUNNING


def test_a_step_in_a_process_of_this_machine_that_is_gone_is_given_up(world):
    begin(world, f"{os.uname().nodename}:{os.getpid()}:1")
    assert Watching(world).look() is None


def test_a_step_of_another_machine_is_given_up_when_that_stands_still(world):
    begin(world, "elsewhere:1:1")
    assert Watching(world).look() is None


def test_runs_that_nobody_asks_about_any_more_are_forgotten():
    """A server lives for months, and sees many."""
    clock = JumpingClock()
    watched = Watched(clock=clock)
    watched.is_still("old", 1)
    clock.sleep(LONG_S)
    assert watched.is_still("old", 1)
    clock.sleep(FORGOTTEN * watched.patience_s + 1)
    watched.is_still("new", 1)
    assert not watched.is_still("old", 1)


@pytest.mark.slow
def test_a_run_tells_that_it_lives_while_a_step_runs_in_it(world, monkeypatch):
    monkeypatch.setattr(drive, "BEAT_S", 0.05)
    executor = InlineExecutor(world.store, world.root / "cache", table=TABLE)
    ledger = world.open()
    reconciler = Reconciler(
        ledger=ledger, executor=executor, store=world.store, clock=SystemClock(), run_id="run-1"
    )
    driver = Driver(
        reconciler=reconciler, clock=reconciler.clock, watch=lambda *_: None, owner="elsewhere:1:1"
    )
    driving = threading.Thread(target=driver.drive, args=("run-1",))
    driving.start()
    journal = world.folder(world.spec("journal", units=20)).path / "journal"
    until(journal.exists, "the step's beginning")
    before = beat(world)
    until(lambda: beat(world) > before, "a beat")
    assert "end" not in Path(journal).read_text()
    driving.join()
    assert world.outcome(world.spec("journal", units=20)) is Outcome.PASSED


def beat(world: ToyWorld) -> int:
    return max((a.beat for a in world.ledger.queue.open_attempts()), default=0)
