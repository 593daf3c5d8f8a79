"""Runs a scenario to its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random

from lora_ci.core.step import Outcome
from lora_ci.execution.fleet.cluster import Cluster, Gpu, ServerDiedError, make_gpus
from lora_ci.execution.fleet.loras import draw_loras, gpu_hours
from lora_ci.execution.fleet.measured import Measured, Meter, spread_of
from lora_ci.execution.fleet.scenario import Fault, Scenario
from lora_ci.execution.fleet.service import Service, Work
from lora_ci.execution.fleet.time import DAY_S, HOUR_S, Agenda, VirtualClock
from lora_ci.ledger.ledger import open_ledger

# The server looks so often; what happens meanwhile is seen at once.
POLL_S = 5.0
# It looks though nothing is known to have happened.
IDLE_S = 600.0
# Who has not ended so long after the last push never will.
LONGEST_DAYS = 90.0
SAMPLES = 400
# The mean time between two faults at the usual rate, and the mean time that one lasts (each is
# drawn from an exponential distribution). Those of GPUs and preemptions are of one GPU, those of
# nodes of one node.
EVERY_DAYS = {
    Fault.GPU: 30.0,
    Fault.NODE: 60.0,
    Fault.PREEMPTION: 10.0,
    Fault.NETWORK: 3.0,
    Fault.SERVER: 3.5,
    Fault.CLOCK: 7.0,
}
LASTS_S = {
    Fault.GPU: 4 * HOUR_S,
    Fault.NODE: 2 * HOUR_S,
    Fault.PREEMPTION: 600.0,
    Fault.NETWORK: 240.0,
    Fault.SERVER: 40.0,
    Fault.CLOCK: 2 * HOUR_S,
}

Watch = Callable[[float, float], None]


def simulate(scenario: Scenario, folder: Path, watch: Watch = lambda *_: None) -> Measured:
    """What comes of a scenario; the same for the same scenario.

    `folder` gets the ledger and the step folders: quickest in memory. `watch` is told the days that
    have passed and those that there are.
    """
    return _World(scenario, folder).run(watch)


class _World:
    def __init__(self, scenario: Scenario, folder: Path) -> None:
        self.scenario = scenario
        self.clock, self.agenda = VirtualClock(), Agenda()
        self.loras = draw_loras(scenario)
        self.cluster = Cluster(
            clock=self.clock,
            agenda=self.agenda,
            gpus=make_gpus(scenario.gpus, scenario.gpus_per_node),
            rng=Random(f"cluster {scenario.seed}"),
            late=scenario.faults.get(Fault.NETWORK, 0.0) > 0,
        )
        self.service = Service(
            ledger=open_ledger(f"sqlite:///{folder / 'ledger.db'}", self.clock),
            cluster=self.cluster,
            clock=self.clock,
            agenda=self.agenda,
            root=folder,
        )
        self.meter = Meter(sample_s=max(60.0, scenario.days * DAY_S / SAMPLES))
        self.happened: Counter[str] = Counter()
        self.down_s = 0.0

    def run(self, watch: Watch) -> Measured:
        self.service.start()
        for lora in self.loras:
            self.agenda.note(lora.at_s, partial(self.service.take, lora))
        self._plan_faults()
        last_s = self.scenario.days * DAY_S
        while (
            len(self.service.ended) < len(self.loras)
            and self.clock.elapsed_s < last_s + LONGEST_DAYS * DAY_S
        ):
            self._turn()
            watch(min(self.clock.elapsed_s, last_s) / DAY_S, self.scenario.days)
        if self.clock.elapsed_s < last_s:
            self._pass_to(last_s)
        self.service.ledger.close()
        return self._measured()

    def _turn(self) -> None:
        """What happens until the server looks next, and that look."""
        now_s, next_s = self.clock.elapsed_s, self.agenda.next_s()
        until_s = now_s + IDLE_S
        if next_s is not None and next_s < until_s:
            until_s = POLL_S * (next_s // POLL_S + 1)
        while (next_s := self.agenda.next_s()) is not None and next_s <= until_s:
            at_s, happen = self.agenda.take()
            self._pass_to(at_s)
            happen()
        self._pass_to(until_s)
        try:
            self.service.tick()
        except ServerDiedError:
            self._kill_server()

    def _pass_to(self, at_s: float) -> None:
        self.meter.pass_to(
            at_s,
            well=len(self.cluster.well()),
            busy=self.cluster.busy,
            wanted=len(self.service.wanted),
            out_since_s=self.service.out_since_s(),
        )
        self.clock.elapsed_s = at_s

    # Faults

    def _plan_faults(self) -> None:
        nodes = sorted({gpu.node for gpu in self.cluster.gpus})
        for number, gpu in enumerate(self.cluster.gpus):
            self._again(Fault.GPU, number, partial(self.cluster.fail, gpu))
            self._again(Fault.PREEMPTION, number, partial(self._preempt, gpu))
        for number, node in enumerate(nodes):
            self._again(Fault.NODE, number, partial(self._lose, node))
        self._again(Fault.NETWORK, 0, self._silence)
        self._again(Fault.SERVER, 0, self._crash)
        self._again(Fault.CLOCK, 0, self._set_clock)

    def _again(self, fault: Fault, number: int, happen: Callable[[float], None]) -> None:
        times = self.scenario.faults.get(fault, 0.0)
        if not times:
            return
        rng = Random(f"{fault} {self.scenario.seed} {number}")

        def turn() -> None:
            self.happened[fault.value] += 1
            happen(rng.expovariate(1 / LASTS_S[fault]))
            plan()

        def plan() -> None:
            wait_s = rng.expovariate(times / (EVERY_DAYS[fault] * DAY_S))
            self.agenda.note(self.clock.elapsed_s + wait_s, turn)

        plan()

    def _preempt(self, gpu: Gpu, lasts_s: float) -> None:
        self.cluster.fail(gpu, lasts_s, saved=True)

    def _lose(self, node: str, lasts_s: float) -> None:
        for gpu in self.cluster.gpus:
            if gpu.node == node:
                self.cluster.fail(gpu, lasts_s)

    def _silence(self, lasts_s: float) -> None:
        self.cluster.silent_until_s = self.clock.elapsed_s + lasts_s
        self.agenda.wake(self.cluster.silent_until_s)

    def _crash(self, lasts_s: float) -> None:
        """Half of the crashes come between two ticks, half within one."""
        self.down_s = lasts_s
        if self.happened[Fault.SERVER.value] % 2:
            self._kill_server()
        else:
            self.cluster.dying = True

    def _kill_server(self) -> None:
        self.cluster.dying = False
        if self.service.reconciler is not None:
            self.service.die(self.down_s)

    def _set_clock(self, lasts_s: float) -> None:
        """The wall clock is an hour off, now ahead, now behind, until somebody sets it right."""
        ahead = self.happened[Fault.CLOCK.value] % 2
        self.clock.off_s = HOUR_S if ahead else -HOUR_S

        def set_right() -> None:
            self.clock.off_s = 0.0

        self.agenda.note(self.clock.elapsed_s + lasts_s, set_right)

    # What came of it

    def _measured(self) -> Measured:
        good = [work for work in self.service.ended if work.lora.good]
        passed = [work for work in good if work.outcome is Outcome.PASSED]
        asked = sum(lora.good for lora in self.loras)
        meter, scenario = self.meter, self.scenario
        turnarounds = [_took_s(work) for work in good]
        busy_h = meter.busy_s / HOUR_S
        return Measured(
            gpus=scenario.gpus,
            loras=len(self.loras),
            good=asked,
            passed=len(passed),
            refused=sum(not work.lora.good for work in self.service.ended),
            success=len(passed) / asked if asked else 1.0,
            turnaround=spread_of(turnarounds),
            wait={repo: spread_of(waits) for repo, waits in sorted(self._waits().items())},
            utilisation=meter.busy_s / meter.bound_s if meter.bound_s else 1.0,
            load=gpu_hours(self.loras) / (scenario.gpus * scenario.days * 24),
            available=1.0 - meter.out_s / meter.at_s,
            lasted_days=meter.at_s / DAY_S,
            gpu_h=busy_h,
            gpu_h_lost=self.cluster.lost_s / HOUR_S,
            cost=busy_h * scenario.price,
            faults=dict(sorted(self.happened.items())),
            attempts=self.service.attempts,
            ticks=self.service.ticks,
            moments=tuple(meter.moments),
            turnarounds_h=tuple(sorted(s / HOUR_S for s in turnarounds)),
        )

    def _waits(self) -> dict[str, list[float]]:
        waits: dict[str, list[float]] = {}
        for work in self.service.ended:
            waits.setdefault(work.lora.repo, []).extend(work.waited_s)
        return waits


def _took_s(work: Work) -> float:
    return (work.ended_s or 0.0) - work.lora.at_s
