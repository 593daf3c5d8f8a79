"""Real steps on a machine whose one GPU is played: who must go, goes, and goes on later."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lora_ci.core.event import Event, EventKind
from lora_ci.core.fingerprint import make_fingerprint
from lora_ci.core.machine import Machine
from lora_ci.core.plan import Action, Decision
from lora_ci.core.step import Outcome, Resources, StepSpec
from lora_ci.execution.lead import this_process
from lora_ci.execution.local import LocalExecutor
from lora_ci.execution.this_machine import ThisMachine
from lora_ci.execution.tick import Policy, Reconciler
from lora_ci.execution.turns import INTERACTIVE, SEARCH
from lora_ci.ledger.runners import RunnerState
from tests.execution.test_placement import gpu
from tests.execution.toy import toy_command
from tests.execution.toy_world import ToyWorld, until, wait_for_progress

pytestmark = pytest.mark.slow

NAME = socket.gethostname()
HERE = Machine(name=NAME, gpus=(gpu("4090", node=NAME),), slots=2)


class OneGpu(ToyWorld):
    """A world with one GPU, whose steps all ask for it."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.executor = LocalExecutor(root / "objects", root / "cache", command=toy_command)
        self.reconciler_ = self.started_anew()

    def started_anew(self, **policy: float) -> Reconciler:
        """A reconciler that remembers nothing."""
        settings = {"failures": 1, "delays_s": (0.0,), "grace_s": 20.0, **policy}
        made = self.reconciler(self.executor, policy=Policy(**settings))
        made.room = None
        made.placement = ThisMachine(
            runners=made.ledger.runners, clock=made.clock, look=lambda: HERE
        )
        return made

    def queue(self, do: str, priority: int, run: str, **params: object) -> StepSpec:
        spec = replace(self.spec(do, **params), resources=Resources(gpus=1, timeout_s=60))
        self.ledger.start_run(run, Event(kind=EventKind.PUSH, repo="r", head="h"))
        self.ledger.queue.beat(run, this_process())
        fingerprint = make_fingerprint(spec.stage, {k: str(v) for k, v in spec.params.items()})
        decision = Decision(
            lora=spec.lora, stage=spec.stage, action=Action.RUN, why="test",
            fingerprint=fingerprint,
        )  # fmt: skip
        folder = self.folder(spec).path
        self.ledger.queue.add(
            run, decision, spec, commit="c", folder=folder, repo="r", priority=priority
        )
        return spec

    def tick_until(self, true: Callable[[], bool]) -> None:
        def ticked() -> bool:
            self.reconciler_.tick()
            return true()

        until(ticked)

    def begins(self, spec: StepSpec) -> None:
        self.tick_until(lambda: bool(self.attempts(spec)))
        wait_for_progress(self.folder(spec))

    def passed(self, spec: StepSpec, run: str) -> bool:
        found = self.ledger.queue.result(run, spec.lora, spec.stage)
        assert found is None or found.outcome is Outcome.PASSED
        return found is not None

    def outcomes(self, spec: StepSpec) -> list[object]:
        return [attempt["outcome"] for attempt in self.attempts(spec)]


@pytest.fixture
def world(tmp_path) -> Iterator[OneGpu]:
    world = OneGpu(tmp_path)
    yield world
    for attempt in world.ledger.queue.open_attempts():
        if attempt.handle:
            world.executor.cancel(attempt.handle, hard=True)
            world.executor.clear(attempt.handle)
    world.reconciler_.ledger.close()
    world.ledger.close()


def test_a_search_makes_room_for_a_person_and_goes_on(world):
    search = world.queue("journal", SEARCH, "search", units=100)
    world.begins(search)
    person = world.queue("environment", INTERACTIVE, "person")
    world.tick_until(lambda: world.passed(person, "person"))
    told = world.result(person, "person").details["environment"]
    assert told["CUDA_VISIBLE_DEVICES"] == f"GPU-{NAME}-0"
    world.tick_until(lambda: world.passed(search, "search"))
    assert world.outcomes(search) == ["interrupted", "passed"]
    journal = (world.folder(search).path / "journal").read_text().split()
    assert journal[::2] == ["begin", "stop", "begin", "end"]


def test_one_that_does_not_heed_is_killed_and_that_is_no_error_of_its(world):
    world.reconciler_ = world.started_anew(grace_s=0.2, interruptions=1)
    world.reconciler_.room = 1
    search = world.queue("hang", SEARCH, "search")
    world.begins(search)
    person = world.queue("", INTERACTIVE, "person")
    world.tick_until(lambda: world.passed(person, "person"))
    assert world.outcomes(search)[0] == "interrupted"
    assert world.ledger.queue.unfinished("search")


def test_a_drained_machine_is_empty_until_it_is_resumed(world):
    step = world.queue("journal", INTERACTIVE, "run", units=50)
    world.begins(step)
    world.ledger.runners.want(NAME, RunnerState.DRAINED, "a fan is broken")
    world.reconciler_ = world.started_anew()
    world.reconciler_.room = 1
    world.tick_until(lambda: not world.ledger.queue.open_attempts())
    world.reconciler_.tick()
    assert world.outcomes(step) == ["interrupted"]
    world.ledger.runners.want(NAME, RunnerState.ACTIVE, "")
    world.reconciler_ = world.started_anew()
    world.tick_until(lambda: world.passed(step, "run"))
    assert world.outcomes(step) == ["interrupted", "passed"]
