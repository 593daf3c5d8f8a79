"""What the ledger keeps of machines, in each kind of database."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest

from lora_ci.core.clock import SystemClock
from lora_ci.core.machine import Gpu, Machine
from lora_ci.ledger.ledger import Ledger, open_ledger
from lora_ci.ledger.runners import RunnerState

GPU = Gpu(
    index=0, uuid="GPU-0", name="RTX 4090", total_gib=23.988, free_gib=20.5, capability="8.9",
    held_gib={"step-1-1.abc": 2.5},
)  # fmt: skip


class Later(SystemClock):
    """A clock that is ahead."""

    days = 0

    def now(self) -> datetime:
        return super().now() + timedelta(days=self.days)


@pytest.fixture
def clock() -> Later:
    return Later()


@pytest.fixture
def ledger(ledger_url: str, clock: Later) -> Iterator[Ledger]:
    ledger = open_ledger(ledger_url, clock)
    yield ledger
    ledger.close()


def test_a_machine_is_as_it_was_last_seen(ledger):
    runners = ledger.runners
    assert runners.all() == ()
    assert runners.find("m") is None
    runners.see(Machine(name="m"))
    there = Machine(name="m", gpus=(GPU,), slots=4, note="GPU 1: lost")
    runners.see(there)
    (found,) = runners.all()
    assert found == runners.find("m")
    assert (found.machine, found.state, found.why) == (there, RunnerState.ACTIVE, "")


def test_what_an_operator_wants_outlives_a_look(ledger):
    assert not ledger.runners.want("m", RunnerState.DRAINED, "a fan is broken")
    ledger.runners.see(Machine(name="m"))
    assert ledger.runners.want("m", RunnerState.DRAINED, "a fan is broken")
    ledger.runners.see(Machine(name="m"))
    found = ledger.runners.find("m")
    assert (found.state, found.why) == (RunnerState.DRAINED, "a fan is broken")


def test_a_machine_that_is_gone_is_forgotten(ledger, clock):
    for name in ("gone", "closed"):
        ledger.runners.see(Machine(name=name))
    ledger.runners.want("closed", RunnerState.DRAINED, "a fan is broken")
    clock.days = 29
    ledger.runners.see(Machine(name="here"))
    assert len(ledger.runners.all()) == 3
    clock.days = 31
    ledger.runners.see(Machine(name="here"))
    assert [runner.machine.name for runner in ledger.runners.all()] == ["closed", "here"]
