"""No repository has more GPUs than its quota, however much it asks for."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lora_ci.core.step import Outcome, Resources, StepResult
from lora_ci.execution.lead import this_process
from tests.execution.endless import Endless
from tests.execution.toy_world import ToyWorld, toy_world


@pytest.fixture
def world(tmp_path) -> Iterator[ToyWorld]:
    with toy_world(tmp_path) as made:
        yield made


def add(world: ToyWorld, repo: str, lora: str, gpus: int, nodes: int = 1) -> None:
    spec = world.spec("", lora=lora, n=f"{repo} {lora}")
    resources = Resources(gpus=gpus, nodes=nodes)
    world.add(replace(spec, resources=resources), run=f"run-of-{repo}", repo=repo)
    world.ledger.queue.beat(f"run-of-{repo}", this_process())


def gpus(world: ToyWorld) -> Counter[str]:
    taken = Counter[str]()
    for attempt in world.ledger.queue.open_attempts():
        taken[attempt.repo] += attempt.gpus
    return taken


def turns(world: ToyWorld, executor: Endless, quota: int | None, count: int = 3) -> None:
    for _ in range(count):
        reconciler = world.reconciler(executor, room=100)
        reconciler.quota = quota
        reconciler.tick()
        reconciler.ledger.close()


def test_a_flood_of_one_repository_leaves_the_others_their_gpus(world):
    for number in range(20):
        add(world, "big", f"lora-{number}", 1)
    for number in range(2):
        add(world, "small", f"lora-{number}", 1)
        add(world, "big", f"checked-{number}", 0)
    executor = Endless()
    turns(world, executor, 3)
    assert gpus(world) == {"big": 3, "small": 2}
    # What takes no GPU is no matter of a quota.
    assert sum(a.spec.lora.startswith("checked") for a in executor.started) == 2
    turns(world, executor, None, 1)
    assert gpus(world) == {"big": 20, "small": 2}


def test_one_that_wants_several_gpus_is_not_overtaken_for_ever(world):
    add(world, "big", "first", 1)
    turns(world, Endless(), 2)
    add(world, "big", "wants two", 2)
    add(world, "big", "wants one", 1)
    executor = Endless()
    turns(world, executor, 2)
    assert [a.spec.lora for a in executor.started] == []
    (first,) = world.ledger.queue.open_attempts()
    world.ledger.queue.finish(first, StepResult(outcome=Outcome.PASSED))
    turns(world, executor, 2)
    assert [a.spec.lora for a in executor.started] == ["wants two"]


@pytest.mark.parametrize(("each", "nodes"), [(4, 1), (2, 2)])
def test_a_step_that_its_quota_never_lets_begin_is_told(world, each, nodes):
    add(world, "big", "huge", each, nodes)
    turns(world, Endless(), 3)
    result = world.ledger.queue.result("run-of-big", "huge", world.spec("").stage)
    assert result is not None
    assert result.outcome is Outcome.ERROR
    assert "asks for 4 GPUs; a repository may have 3 (`--quota`)" in result.findings[0].message
