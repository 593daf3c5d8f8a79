"""Two machines with one ledger and disks of their own: each does and looks after its own steps."""

import os
import socket
from dataclasses import replace

import pytest

from lora_ci.execution.executor import Attempt
from lora_ci.execution.lead import PATIENCE_S, Leadership, lease_of, this_process
from lora_ci.execution.local import LocalExecutor
from lora_ci.ledger.queue import StepState
from tests.execution.test_model import JumpingClock
from tests.execution.toy import toy_command
from tests.execution.toy_world import ToyWorld

ELSEWHERE = "elsewhere:7:8"


class Counted(LocalExecutor):
    """Starts nothing, and says which attempts it was given and asked about."""

    given: list[str]
    asked: list[str]

    def submit(self, attempt: Attempt) -> str:
        self.given.append(attempt.key)
        return f"{os.getpid()}:x:{attempt.key}"

    def phases(self, handles):
        self.asked.extend(handles)
        return {}


@pytest.fixture
def world(tmp_path) -> ToyWorld:
    return ToyWorld(tmp_path)


@pytest.fixture
def executor(tmp_path) -> Counted:
    made = Counted(tmp_path / "objects", tmp_path / "cache", command=toy_command)
    object.__setattr__(made, "given", [])
    object.__setattr__(made, "asked", [])
    return made


def test_a_step_whose_files_are_on_another_machine_is_left_to_that_one(world, executor):
    here, there = world.add(world.spec("here"), "ours"), world.add(world.spec("there"), "theirs")
    world.ledger.queue.beat("ours", this_process())
    world.ledger.queue.beat("theirs", ELSEWHERE)
    world.reconciler(executor).tick()
    assert len(executor.given) == 1
    assert world.ledger.queue.unfinished("ours")[0].fingerprint == here.fingerprint
    (waiting,) = world.ledger.queue.unfinished("theirs")
    assert (waiting.fingerprint, waiting.state) == (there.fingerprint, StepState.WAITING)
    (attempt,) = world.ledger.queue.open_attempts()
    assert attempt.place["node"] == socket.gethostname()


def test_a_process_of_another_machine_is_not_taken_for_one_that_has_ended(world, executor):
    world.add(world.spec("there"), "theirs")
    queue = world.ledger.queue
    queue.beat("theirs", ELSEWHERE)
    (step,) = queue.unfinished("theirs")
    key = queue.begin([(step, {"node": "elsewhere", "gpus": []})], executor="local")[0]
    queue.note_handles({key: "7:8:mark"})
    reconciler = world.reconciler(executor)
    for _ in range(3):
        reconciler.tick()
    assert [a.key for a in queue.open_attempts()] == [key]
    assert executor.asked == []


def test_each_machine_leads_its_own_processes_and_one_leads_a_cluster():
    assert lease_of("local") == f"steps-local@{socket.gethostname()}"[:64]
    assert lease_of("slurm") == "steps-slurm"


def test_one_that_leads_by_other_options_is_told_once(world, caplog):
    """Two servers share a ledger, and their operators forgot that."""
    ours = {"--executor": "slurm", "--parallel": "16", "--pass-env": "WANDB_API_KEY"}
    first = Leadership(
        queue=world.ledger.queue, clock=JumpingClock(), name="steps-slurm", holder=ELSEWHERE,
        terms=ours | {"--parallel": "2", "--pass-env": ""},
    )  # fmt: skip
    second = replace(first, holder=this_process(), terms=ours)
    assert first.lead()
    assert not second.lead()
    assert not second.lead()
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "lead.differs holder=elsewhere:7 options=--parallel is 2, here 16; --pass-env is not "
        "given, here WANDB_API_KEY next: give all who share a ledger the same"
    ]
    # Whoever comes to lead does so by its own.
    first.resign()
    assert second.lead()
    assert world.ledger.queue.terms("steps-slurm") == ours


def test_what_another_machine_does_takes_no_room_here(world, executor):
    queue = world.ledger.queue
    for run, owner in (("theirs", ELSEWHERE), ("ours", this_process())):
        world.add(world.spec(run), run)
        queue.beat(run, owner)
    (step,) = queue.unfinished("theirs")
    assert queue.begin([(step, {"node": "elsewhere", "gpus": []})], executor="local")[0]
    world.reconciler(executor, room=1).tick()
    assert len(executor.given) == 1


@pytest.mark.parametrize("lives", [True, False])
def test_work_that_is_under_way_on_a_machine_that_died_is_begun_here(world, executor, lives):
    there, here = world.add(world.spec("work"), "theirs"), world.add(world.spec("work"), "ours")
    assert there.fingerprint == here.fingerprint
    queue = world.ledger.queue
    queue.beat("theirs", ELSEWHERE)
    (step,) = queue.unfinished("theirs")
    theirs = queue.begin([(step, {"node": "elsewhere", "gpus": []})], executor="local")[0]
    queue.note_handles({theirs: "7:8:mark"})
    clock = JumpingClock()
    reconciler = world.reconciler(executor, clock=clock)
    for _ in range(4):
        queue.beat("ours", this_process())
        if lives:
            queue.beat("theirs", ELSEWHERE)
        reconciler.tick()
        clock.sleep(2 * PATIENCE_S)
    begun = [a for a in queue.open_attempts() if a.step.run_id == "ours"]
    assert len(begun) == (0 if lives else 1)
    assert (theirs in {a.key for a in queue.open_attempts()}) == lives
