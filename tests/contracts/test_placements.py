"""What a reconciler relies on, of whatever says which step comes next and where."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_ci.core.clock import SystemClock
from lora_ci.core.machine import Machine
from lora_ci.execution.placement import GpuPlacement
from lora_ci.execution.this_machine import ThisMachine
from lora_ci.execution.turns import INTERACTIVE, SCHEDULED, SEARCH, Anywhere, Placement
from lora_ci.ledger.ledger import open_ledger
from tests.execution.test_placement import begun, machine, waiting
from tests.ledgers import new_ledger

STEPS = [
    waiting(number, number % 3, 6.0 * (number % 4), repo=f"r{number % 2}", at=number % 5,
            priority=priority)
    for number, priority in enumerate([SEARCH, SCHEDULED, INTERACTIVE] * 4)
]  # fmt: skip
LARGE = machine(*["a100"] * 12, slots=12)
SMALL = machine("a100", "a100")
KINDS = ("anywhere", "gpus", "this machine", "a machine without a GPU")


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def make(kind: str, tmp_path: Path) -> Iterator:
    ledger = open_ledger(new_ledger(tmp_path), SystemClock())

    def on(here: Machine) -> Placement:
        match kind:
            case "anywhere":
                return Anywhere()
            case "gpus":
                return GpuPlacement(machines=(here,))
            case "this machine":
                look = here
            case _:
                look = Machine(name="m", cpu_only=True, note="none")
        return ThisMachine(
            runners=ledger.runners, clock=SystemClock(), look=lambda: look, without_gpu=20
        )

    yield on
    ledger.close()


def test_every_step_has_its_turn_once_higher_priorities_first(make):
    chosen = list(make(LARGE).choose(STEPS, [], {}))
    assert {c.waiting.step.id for c in chosen} == {one.step.id for one in STEPS}
    assert len(chosen) == len(STEPS)
    assert [c.waiting.priority for c in chosen] == sorted(
        (c.waiting.priority for c in chosen), reverse=True
    )


def test_the_same_steps_have_the_same_places(make):
    first, again = (
        list(make(SMALL).choose(some, [], {"r0": 5.0})) for some in (STEPS, STEPS[::-1])
    )
    assert first == again


def test_nothing_comes_of_nothing(make):
    placement = make(SMALL)
    assert list(placement.choose([], [], {})) == []
    assert placement.preempt([], [], {}) == ()


def test_who_is_to_go_runs_and_was_not_asked_before(make):
    placement = make(SMALL)
    searches = [one for one in STEPS if one.priority == SEARCH]
    running = [begun(choice) for choice in placement.choose(searches, [], {})]
    people = [one for one in STEPS if one.priority == INTERACTIVE]
    told = placement.preempt(people, running, {})
    assert set(told) <= {attempt.key for attempt in running}
    assert placement.preempt(people, running, {}, told) == ()


def test_what_has_a_place_is_no_misfit(make):
    placement = make(SMALL)
    for choice in placement.choose(STEPS, [], {}):
        assert placement.misfit(choice.waiting) is None
