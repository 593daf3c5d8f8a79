"""Steps get GPUs that are large enough, fill them well, in turn, and none waits for ever."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_ci.core.machine import Gpu, Machine
from lora_ci.core.step import Stage
from lora_ci.execution.executor import Place
from lora_ci.execution.placement import MARGIN, SHARING, GpuPlacement
from lora_ci.execution.turns import INTERACTIVE, SCHEDULED, SEARCH, Choice
from lora_ci.ledger.queue import OpenAttempt, StepRow, StepState, Waiting

KINDS = {"4090": 24.0, "a100": 80.0, "t4": 15.0}


def gpu(kind: str = "4090", index: int = 0, *, node: str = "m", taken: float = 0.0, **more) -> Gpu:
    total = KINDS[kind]
    return Gpu(
        index=index, uuid=f"GPU-{node}-{index}", name=kind, total_gib=total,
        free_gib=total - taken, **more,
    )  # fmt: skip


def machine(*kinds: str, name: str = "m", slots: int = 2) -> Machine:
    gpus = tuple(gpu(kind, i, node=name) for i, kind in enumerate(kinds))
    return Machine(name=name, gpus=gpus, slots=slots)


def waiting(
    number: int, gpus: int = 1, gib: float = 0.0, *, repo: str = "r", at: int = 0,
    priority: int = SCHEDULED, work: str = "", failures: int = 0,
) -> Waiting:  # fmt: skip
    step = StepRow(
        id=number, run_id=f"run-{number}", lora="mei", stage=Stage.TRAIN,
        fingerprint=work or f"f{number}", state=StepState.WAITING, folder=Path(), attempts=0,
        failures=failures,
    )  # fmt: skip
    return Waiting(
        step=step, repo=repo, priority=priority, gpus=gpus, vram_gib=gib,
        queued_at=moment(at), owner=None, beat=0,
    )  # fmt: skip


def moment(at: int) -> str:
    return f"2026-01-01T{at:012d}"


def begun(choice: Choice, at: int = 0) -> OpenAttempt:
    one, place = choice.waiting, choice.place
    return OpenAttempt(
        key=f"step-{one.step.id}-1", step=one.step, repo=one.repo, priority=one.priority,
        executor="local", handle=None, place={"node": place.node, "gpus": list(place.gpus)},
        gpus=one.gpus, vram_gib=one.vram_gib, started_at=moment(at), stopping=None, owner=None,
        beat=0,
    )  # fmt: skip


def running(number: int, *on: str, at: int = 1, gib: float = 0.0, **more) -> OpenAttempt:
    one = waiting(number, len(on), gib, **more)
    return begun(Choice(waiting=one, place=Place(node="m", gpus=on)), at)


def choose(machines, steps, attempts=(), used=None, **more) -> list[Choice]:
    placement = GpuPlacement(machines=tuple(machines), **more)
    return list(placement.choose(steps, attempts, used or {}))


def places(choices) -> dict[int, tuple[str, ...]]:
    return {c.waiting.step.id: c.place.gpus for c in choices}


# What fits


def test_a_step_gets_the_smallest_gpu_that_is_large_enough():
    found = choose([machine("a100", "4090", "t4")], [waiting(1, gib=20)])
    assert places(found) == {1: ("GPU-m-1",)}


def test_no_gpu_is_large_enough_though_the_sum_would_be():
    fleet = [machine("4090", "4090"), machine("t4", name="n")]
    assert choose(fleet, [waiting(1, gib=40)]) == []
    assert "24" in GpuPlacement(machines=tuple(fleet)).misfit(waiting(1, gib=40))


def test_gpus_of_one_step_are_on_one_machine():
    fleet = [machine("4090", name="a"), machine("4090", name="b")]
    assert choose(fleet, [waiting(1, 2, 10)]) == []
    why = GpuPlacement(machines=tuple(fleet)).misfit(waiting(1, 2, 10))
    assert why == "asks for 2 GPUs of 10 GiB on one machine; none has so many"
    assert GpuPlacement(machines=(machine("4090", "t4"),)).misfit(waiting(1, 2, 10)) is None


def test_a_gpu_that_is_lost_may_be_back():
    hurt = replace(machine("4090"), note="GPU 1: lost")
    assert choose([hurt], [waiting(1, 2)]) == []
    assert GpuPlacement(machines=(hurt,)).misfit(waiting(1, 2)) is None
    assert GpuPlacement(machines=()).misfit(waiting(1, 2)) is None


def test_a_step_of_unknown_memory_has_the_largest_gpu_alone():
    found = choose([machine("4090", "a100")], [waiting(1), waiting(2, gib=4, at=1)])
    assert places(found) == {1: ("GPU-m-1",), 2: ("GPU-m-0",)}
    assert choose([machine("4090")], [waiting(2, gib=4)], [running(1, "GPU-m-0")]) == []


def test_small_steps_share_a_gpu_and_leave_a_margin():
    alone = [machine("4090")]
    assert len(choose(alone, [waiting(i, gib=8) for i in range(3)])) == 2
    assert len(choose(alone, [waiting(i, gib=7.5) for i in range(4)])) == 3
    assert len(choose(alone, [waiting(i, gib=1) for i in range(9)])) == SHARING
    assert len(choose(alone, [waiting(1, gib=24)])) == 1


def test_a_step_that_was_an_error_has_its_gpu_alone_the_next_time():
    again, other = waiting(1, gib=8, failures=1), running(2, "GPU-m-0", gib=8)
    assert choose([machine("4090")], [again], [other]) == []
    (choice,) = choose([machine("4090")], [again])
    assert choose([machine("4090")], [waiting(3, gib=2)], [begun(choice)]) == []


def test_small_steps_have_gpus_that_nobody_wants_for_themselves():
    two = [machine("4090", "4090")]
    found = places(choose(two, [waiting(1, gib=4), waiting(2, gib=4)]))
    assert set(found.values()) == {("GPU-m-0",), ("GPU-m-1",)}
    found = places(choose(two, [waiting(1, gib=4), waiting(2, gib=4), waiting(3, gib=0)]))
    assert found == {1: ("GPU-m-0",), 2: ("GPU-m-0",), 3: ("GPU-m-1",)}


def test_memory_of_other_programs_is_taken():
    taken = Machine(name="m", gpus=(gpu(taken=10),))
    assert choose([taken], [waiting(1, gib=16)]) == []
    assert choose([taken], [waiting(1)]) == []
    assert len(choose([taken], [waiting(1, gib=14)])) == 1
    desktop = Machine(name="m", gpus=(gpu(taken=2),))
    assert len(choose([desktop], [waiting(1)])) == 1


def test_what_our_steps_hold_is_counted_once():
    ours = replace(running(1, "GPU-m-0", gib=8), handle="7:99:step-1-1.abc")
    held = Machine(name="m", gpus=(gpu(taken=6, held_gib={"step-1-1.abc": 6}),))
    assert len(choose([held], [waiting(2, gib=14)], [ours])) == 1
    more = Machine(name="m", gpus=(gpu(taken=12, held_gib={"step-1-1.abc": 12}),))
    assert choose([more], [waiting(2, gib=14)], [ours]) == []


def test_a_slice_takes_one_step_and_no_part_of_a_larger_one():
    slices = tuple(
        Gpu(index=0, uuid=f"MIG-{i}", name="A100 3g.20gb", total_gib=19.6, free_gib=19.6, mig="G")
        for i in range(2)
    )
    fleet = [Machine(name="m", gpus=slices)]
    assert places(choose(fleet, [waiting(1, gib=12)])) == {1: ("MIG-0",)}
    assert choose(fleet, [waiting(1, 2, 12)]) == []


def test_steps_without_a_gpu_take_slots():
    found = choose([machine("t4", slots=2)], [waiting(i, 0) for i in range(3)], [])
    assert [c.place for c in found] == [Place(node="m")] * 2
    busy = begun(found[0])
    assert len(choose([machine("t4", slots=2)], [waiting(9, 0)], [busy])) == 1


def test_a_closed_machine_takes_nothing():
    fleet = [machine("4090", name="a"), machine("4090", name="b")]
    found = choose(fleet, [waiting(1), waiting(2), waiting(3, 0)], closed=frozenset("a"))
    assert {c.place.node for c in found} == {"b"}


def test_work_that_is_under_way_takes_no_room():
    found = choose(
        [machine("4090", "4090", "4090")],
        [waiting(2, work="same"), waiting(3, work="same"), waiting(4, work="new"),
         waiting(5, work="new"), waiting(6)],
        [running(1, "GPU-m-0", work="same")],
    )  # fmt: skip
    assert sorted(places(found)) == [4, 6]


# Whose turn it is


def test_repositories_take_turns():
    steps = [waiting(i, repo="flood") for i in range(8)] + [waiting(9, repo="small", at=5)]
    found = choose([machine(*["4090"] * 4)], steps)
    assert sum(c.waiting.repo == "small" for c in found) == 1


def test_a_person_goes_before_a_search():
    steps = [waiting(1, priority=SEARCH), waiting(2, priority=INTERACTIVE, at=5)]
    assert sorted(places(choose([machine("4090")], steps))) == [2]


# Who must go


def preempt(machines, steps, attempts, asked=(), **more) -> tuple[str, ...]:
    return GpuPlacement(machines=tuple(machines), **more).preempt(steps, attempts, {}, asked)


def test_the_youngest_of_the_fewest_searches_goes_for_a_person():
    searches = [running(i, f"GPU-m-{i}", at=10 + i, priority=SEARCH) for i in range(3)]
    fleet = [machine(*["4090"] * 3)]
    person = waiting(9, priority=INTERACTIVE, at=20)
    assert preempt(fleet, [person], searches) == ("step-2-1",)
    assert preempt(fleet, [person], searches, asked=("step-1-1",)) == ()
    assert preempt(fleet, [waiting(9, 2, priority=INTERACTIVE)], searches) == (
        "step-1-1",
        "step-2-1",
    )
    assert preempt(fleet, [waiting(9, at=20)], searches) == ()


def test_nobody_goes_where_that_would_not_help():
    fleet = [machine("4090", "4090")]
    held = [running(1, "GPU-m-0"), running(2, "GPU-m-1", priority=SEARCH)]
    assert preempt(fleet, [waiting(9, 2, priority=INTERACTIVE)], held) == ()
    assert preempt(fleet, [waiting(9, gib=30, priority=INTERACTIVE)], held) == ()
    free = [machine("4090", "4090", "4090")]
    assert preempt(free, [waiting(9, priority=INTERACTIVE)], held) == ()


def test_two_persons_need_two_gpus():
    held = [running(i, f"GPU-m-{i}", priority=SEARCH, at=i) for i in range(4)]
    people = [waiting(8 + i, priority=INTERACTIVE) for i in range(2)]
    assert preempt([machine(*["4090"] * 4)], people, held) == ("step-2-1", "step-3-1")


def test_memory_that_nobody_is_known_to_hold_is_taken_for_that_of_those_who_are_there():
    """In a container the driver does not say who holds what."""
    full = Machine(name="m", gpus=(gpu(taken=20),))
    person = waiting(9, 1, 11.0, priority=INTERACTIVE)
    alone = [running(1, "GPU-m-0", priority=SEARCH)]
    assert preempt([full], [person], alone) == ("step-1-1",)
    shared = [running(i, "GPU-m-0", gib=9, priority=SEARCH, at=i) for i in (1, 2)]
    assert preempt([full], [person], shared) == ("step-2-1",)
    assert choose([full], [person], shared[:1]) == []
    assert preempt([full], [person], [running(1, "GPU-m-0", gib=1, priority=SEARCH)]) == ()


def test_one_step_of_two_gpus_goes_for_two_persons():
    held = [running(1, "GPU-m-0", "GPU-m-1", priority=SEARCH)]
    people = [waiting(8 + i, priority=INTERACTIVE) for i in range(2)]
    assert preempt([machine("4090", "4090")], people, held) == ("step-1-1",)


def test_what_a_person_waits_for_is_not_taken_by_another_search():
    """Two GPUs are made free one after the other: the first of them must wait for the second."""
    left = [running(2, "GPU-m-1", priority=SEARCH)]
    steps = [waiting(9, 2, priority=INTERACTIVE), waiting(3, priority=SEARCH)]
    assert choose([machine("4090", "4090")], steps, left) == []


def test_all_leave_a_machine_that_is_drained():
    held = [running(1, "GPU-m-0"), replace(running(2, "GPU-m-1"), stopping="stopped")]
    fleet = [machine("4090", "4090")]
    assert preempt(fleet, [], held, leaving=frozenset("m")) == ("step-1-1",)
    assert preempt(fleet, [], held, ("step-1-1",), leaving=frozenset("m")) == ()


# Over time


class Shop:
    """Machines on which steps run for as long as they say; one tick a minute."""

    def __init__(self, machines) -> None:
        self.placement, self.now = GpuPlacement(machines=tuple(machines)), 0
        self.queue: list[tuple[Waiting, int]] = []
        self.open: dict[int, tuple[OpenAttempt, int]] = {}
        self.began: dict[int, int] = {}
        self.used: dict[str, float] = {}

    def add(self, number: int, minutes: int, *args, **more) -> None:
        self.queue.append((waiting(number, *args, at=self.now, **more), minutes))

    def tick(self) -> None:
        self.now += 1
        for number, (attempt, ends) in list(self.open.items()):
            if ends <= self.now:
                del self.open[number]
                took = self.now - int(attempt.started_at[-12:])
                self.used[attempt.repo] = self.used.get(attempt.repo, 0) + took * attempt.gpus
        attempts = [attempt for attempt, _ in self.open.values()]
        steps = [one for one, _ in self.queue]
        lasts = {one.step.id: minutes for one, minutes in self.queue}
        for choice in self.placement.choose(steps, attempts, self.used):
            number = choice.waiting.step.id
            self.open[number] = (begun(choice, self.now), self.now + lasts[number])
            self.began[number] = self.now
        self.queue = [(one, m) for one, m in self.queue if one.step.id not in self.began]


@pytest.mark.parametrize("others", ["same", "another", "many"])
@pytest.mark.parametrize("spent", [0.0, 1e6])
@pytest.mark.parametrize(("gpus", "gib"), [(4, 0.0), (2, 20.0), (1, 0.0), (1, 22.0)])
def test_a_large_step_is_not_overtaken_for_ever(others, spent, gpus, gib):
    """Whoever the small ones belong to, and whatever its repository had before."""
    shop = Shop([machine(*["4090"] * 4)])
    shop.used["big"] = spent
    longest, number = 30, 10
    shop.add(1, 60, gpus, gib, repo="big")
    for minute in range(600):
        for _ in range(3):
            number += 1
            repo = {"same": "big", "another": "other", "many": f"r{number % 7}"}[others]
            shop.add(number, 5 + number * 7 % (longest - 4), 1, 4.0 + number % 3, repo=repo)
        if minute == 0:
            # It came when everything was taken.
            first, shop.queue = shop.queue[0], shop.queue[1:]
            for extra in range(30):
                shop.add(1000 + extra, 5 + extra * 7 % 25, 1, 5.0, repo="other")
            shop.tick()
            shop.queue.insert(0, first)
        shop.tick()
        if 1 in shop.began:
            break
    # Those that ran when it was overtaken, and nothing else.
    assert shop.began[1] <= 2 * longest + 2


def test_large_steps_of_one_do_not_keep_small_ones_of_another_out():
    shop = Shop([machine(*["4090"] * 4)])
    for number in range(1, 40):
        shop.add(number, 20, 4, repo="wide")
    for number in range(100, 140):
        shop.add(number, 20, 1, repo="small")
    for _ in range(400):
        shop.tick()
    began = sorted(shop.began)
    assert sum(n < 100 for n in began) >= 5
    assert sum(n >= 100 for n in began) >= 10


# Whatever comes


@st.composite
def fleets(draw) -> tuple[Machine, ...]:
    made = []
    for name in "abc"[: draw(st.integers(1, 3))]:
        gpus = []
        for i in range(draw(st.integers(0, 4))):
            kind = draw(st.sampled_from(sorted(KINDS)))
            mig = draw(st.sampled_from(["", "", "", "G"]))
            taken = draw(st.sampled_from([0.0, 0.3, 5.0, 14.0]))
            gpus.append(gpu(kind, i, node=name, taken=taken, mig=mig))
        made.append(Machine(name=name, gpus=tuple(gpus), slots=draw(st.integers(0, 2))))
    return tuple(made)


@st.composite
def queues(draw) -> list[Waiting]:
    made = []
    for number in range(draw(st.integers(0, 14))):
        made.append(
            waiting(
                number,
                draw(st.sampled_from([0, 1, 1, 1, 2, 3])),
                draw(st.sampled_from([0.0, 2.0, 6.5, 11.0, 15.0, 23.0, 60.0])),
                repo=draw(st.sampled_from("xyz")),
                at=draw(st.integers(0, 30)),
                priority=draw(st.sampled_from([SEARCH, SCHEDULED, INTERACTIVE])),
                work=draw(st.sampled_from(["", "", "", "w"])),
                failures=draw(st.sampled_from([0, 0, 0, 1])),
            )
        )
    return made


def assert_right(fleet, attempts, closed=frozenset()) -> None:
    """No GPU has more than fits, or a step that wants it alone beside another."""
    for one in fleet:
        cpu = [a for a in attempts if a.place["node"] == one.name and a.gpus == 0]
        assert len(cpu) <= one.slots
        for its in one.gpus:
            on_it = [a for a in attempts if its.uuid in a.place["gpus"]]
            assert all(a.place["node"] == one.name for a in on_it)
            others = its.total_gib - its.free_gib
            asked = sum(a.vram_gib for a in on_it)
            assert asked + others <= its.total_gib * (1 - MARGIN * (len(on_it) > 1)) + 1e-9
            if any(a.gpus > 1 or a.vram_gib == 0 or a.step.failures for a in on_it):
                assert len(on_it) == 1
            if its.mig:
                assert all(a.gpus == 1 for a in on_it)


@settings(max_examples=150)
@given(fleets(), queues(), st.data())
def test_no_filter_is_violated(fleet, steps, data):
    """Over several ticks, in which steps end and machines are closed."""
    open_: list[OpenAttempt] = []
    promised = None
    for tick in range(1, 4):
        closed = frozenset(data.draw(st.sets(st.sampled_from("abc"), max_size=1)))
        placement = GpuPlacement(machines=fleet, closed=closed, promised=promised)
        again = replace(placement)
        found = list(placement.choose(steps, open_, {"x": 3.0}))
        promised = placement.promised
        again = list(again.choose(list(reversed(steps)), list(reversed(open_)), {"x": 3.0}))
        assert found == again
        assert len({c.waiting.step.id for c in found}) == len(found)
        work = [c.waiting.step.fingerprint for c in found] + [a.step.fingerprint for a in open_]
        assert len(set(work)) == len(work)
        for c in found:
            assert c.place.node not in closed
            assert len(set(c.place.gpus)) == c.waiting.gpus
        open_ += [begun(c, 10 * tick) for c in found]
        assert_right(fleet, open_)
        told = placement.preempt(steps, open_, {})
        assert all(a.priority == SEARCH for a in open_ if a.key in told)
        taken = {c.waiting.step.id for c in found}
        steps = [s for s in steps if s.step.id not in taken]
        ended = data.draw(st.sets(st.sampled_from([a.key for a in open_]))) if open_ else set()
        open_ = [a for a in open_ if a.key not in ended]


@settings(max_examples=100)
@given(fleets(), queues())
def test_a_person_has_what_it_takes_once_those_have_gone(fleet, steps):
    searches = [replace(s, priority=SEARCH) for s in steps]
    open_ = [begun(c, 1) for c in GpuPlacement(machines=fleet).choose(searches, [], {})]
    person = waiting(99, 1, 6.0, priority=INTERACTIVE, at=40)
    placement = GpuPlacement(machines=fleet)
    told = placement.preempt([person], open_, {})
    left = [a for a in open_ if a.key not in told]
    found = list(placement.choose([person], left, {}))
    # Where it fits on idle machines, it fits once they have gone; and not before.
    assert len(found) == len(list(placement.choose([person], [], {})))
    assert bool(told) == (bool(found) and not list(placement.choose([person], open_, {})))
    for key in told:
        others = [a for a in open_ if a.key == key or a.key not in told]
        assert not list(placement.choose([person], others, {}))


def test_filling_comes_close_to_the_best_there_is():
    """Against all ways to place some steps, by the memory that is used; 200 small cases."""
    import random

    rng, ours, best = random.Random(7), 0.0, 0.0
    for _ in range(200):
        kinds = [rng.choice(sorted(KINDS)) for _ in range(rng.randint(1, 3))]
        fleet = machine(*kinds)
        asked = [
            rng.choice([2.0, 4.0, 6.0, 9.0, 12.0, 20.0, 40.0]) for _ in range(rng.randint(2, 6))
        ]
        steps = [waiting(i, gib=gib, at=i) for i, gib in enumerate(asked)]
        ours += sum(asked[c.waiting.step.id] for c in choose([fleet], steps))
        best += best_memory(fleet, asked)
    assert ours / best > 0.9


def best_memory(fleet: Machine, asked: list[float]) -> float:
    most = 0.0
    for places_ in product(range(len(fleet.gpus) + 1), repeat=len(asked)):
        loads = [
            [a for a, p in zip(asked, places_, strict=True) if p == i]
            for i in range(len(fleet.gpus))
        ]
        if all(
            sum(load) <= its.total_gib * (1 - MARGIN * (len(load) > 1)) and len(load) <= SHARING
            for load, its in zip(loads, fleet.gpus, strict=True)
        ):
            most = max(most, sum(map(sum, loads)))
    return most
