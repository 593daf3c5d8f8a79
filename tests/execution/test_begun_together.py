"""Several steps that begin in one transaction: what a signal or a silence in the middle leaves."""

import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field

import pytest

from lora_ci.core.errors import InfrastructureError, Interrupted
from lora_ci.core.step import Outcome
from lora_ci.execution.executor import Attempt, ExecutorAwayError
from lora_ci.execution.lead import this_process
from tests.execution.endless import Endless
from tests.execution.toy_world import ToyWorld, toy_world

STEPS = 20


@dataclass
class Counting(Endless):
    """Starts nothing; `at` says what becomes of the attempt that is started as the n-th."""

    at: dict[int, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def submit(self, attempt: Attempt) -> str:
        self.asked.append(attempt.key)
        match self.at.pop(len(self.asked), ""):
            case "signal":
                os.kill(os.getpid(), signal.SIGTERM)
            case "away":
                raise ExecutorAwayError("nobody answers")
            case "refused":
                raise InfrastructureError("it takes no such step")
        return f"handle of {attempt.key}"


@pytest.fixture
def world(tmp_path) -> Iterator[ToyWorld]:
    with toy_world(tmp_path) as made:
        for number in range(STEPS):
            made.add(made.spec("", lora=f"lora-{number}", n=number))
        made.ledger.queue.beat("run-1", this_process())
        yield made


def handles(world: ToyWorld) -> dict[str, str | None]:
    return {a.key: a.handle for a in world.ledger.queue.open_attempts()}


def test_all_that_there_is_room_for_begins_in_one_tick(world):
    executor = Counting()
    world.reconciler(executor, room=17).tick()
    assert handles(world) == {key: f"handle of {key}" for key in executor.asked}
    assert len(executor.asked) == 17


def test_a_signal_among_them_lets_those_that_were_not_started_wait_again(world):
    executor = Counting(at={6: "signal"})
    reconciler = world.reconciler(executor, room=STEPS)
    with pytest.raises(Interrupted):
        reconciler.tick()
    # Which have a handle, and are known to whoever comes next.
    assert handles(world) == {key: f"handle of {key}" for key in executor.asked}
    assert len(executor.asked) == 6
    reconciler.tick()
    assert len(set(executor.asked)) == len(executor.asked) == STEPS
    assert handles(world) == {key: f"handle of {key}" for key in executor.asked}


def test_an_executor_that_goes_away_among_them_is_asked_about_one_until_it_answers(world):
    executor = Counting(at=dict.fromkeys(range(6, 10), "away"))
    reconciler = world.reconciler(executor, room=STEPS)
    for asked in range(6, 10):
        reconciler.tick()
        assert len(executor.asked) == asked
        assert len(set(executor.asked)) <= 7
        assert reconciler.is_away
    reconciler.tick()
    assert not reconciler.is_away
    assert len(set(executor.asked)) == STEPS
    assert handles(world) == {key: f"handle of {key}" for key in set(executor.asked)}


def test_one_that_is_refused_holds_up_none_beside_it(world):
    executor = Counting(at={5: "refused", 9: "refused"})
    reconciler = world.reconciler(executor, room=STEPS)
    reconciler.tick()
    assert len(handles(world)) == STEPS - 2
    reconciler.tick()
    assert len(handles(world)) == STEPS
    loras = [a.step.lora for a in world.ledger.queue.open_attempts()]
    assert sorted(loras) == sorted(f"lora-{n}" for n in range(STEPS))


def test_a_spec_that_cannot_be_read_is_its_own_steps_error(world):
    with closing(sqlite3.connect(world.root / "ledger.db")) as database, database:
        database.execute("UPDATE step SET spec = '{}' WHERE lora = 'lora-3'")
    reconciler = world.reconciler(Counting(), room=STEPS)
    for _ in range(3):
        reconciler.tick()
    assert len(handles(world)) == STEPS - 1
    result = world.ledger.queue.result("run-1", "lora-3", world.spec("").stage)
    assert result is not None
    assert result.outcome is Outcome.ERROR
