"""Places steps on the GPUs of the machine that this process runs on, as they are now."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from lora_ci.core.clock import Clock
from lora_ci.core.errors import InfrastructureError
from lora_ci.core.machine import Machine
from lora_ci.execution.executor import INLINE, LOCAL, Place
from lora_ci.execution.inventory import find_machine
from lora_ci.execution.placement import GpuPlacement, without_twins
from lora_ci.execution.turns import Choice, in_turn
from lora_ci.ledger.queue import OpenAttempt, Waiting
from lora_ci.ledger.runners import Runners, RunnerState

LOG = logging.getLogger("lora_ci.execution")

# The driver is asked so often, and the ledger told so often what it said.
LOOK_S = 2.0
TELL_S = 15.0


def look_here(visible: str | None) -> Machine:
    """This machine; `visible` is the value of CUDA_VISIBLE_DEVICES.

    Half its cores do steps without a GPU. Raises InfrastructureError for a driver that is broken.
    """
    slots = max(1, (os.cpu_count() or 1) // 2)
    return find_machine(socket.gethostname(), slots=slots, visible=visible)


@dataclass(slots=True, kw_only=True)
class ThisMachine:
    """Implements `turns.Placement` with what the driver and the ledger's runners say.

    Where there never was a GPU, steps that ask for one run without, `without_gpu` at a time; where
    there was one and its driver does not answer, they wait.
    """

    runners: Runners
    clock: Clock
    look: Callable[[], Machine]
    without_gpu: int = 1
    _placement: GpuPlacement = field(default_factory=lambda: GpuPlacement(machines=()))
    _looked_at: float | None = None
    _told_at: float | None = None

    def choose(
        self,
        waiting: Sequence[Waiting],
        running: Sequence[OpenAttempt],
        used_gpu_s: Mapping[str, float],
    ) -> Iterator[Choice]:
        """What there is room for on this machine, in turn."""
        self._look()
        running = _not_of_clusters(running)
        placement = self._placement
        (machine,) = placement.machines
        if machine.gpus or not machine.cpu_only:
            yield from placement.choose(waiting, running, used_gpu_s)
        elif machine.name not in placement.closed | placement.leaving:
            free = max(0, self.without_gpu - sum(a.executor == LOCAL for a in running))
            steps = without_twins(waiting, running)
            for one in islice(in_turn(steps, running, used_gpu_s), free):
                yield Choice(waiting=one, place=Place(node=machine.name))

    def preempt(
        self,
        waiting: Sequence[Waiting],
        running: Sequence[OpenAttempt],
        used_gpu_s: Mapping[str, float],
        asked: Collection[str] = (),
    ) -> tuple[str, ...]:
        """The attempts that are to save and end, besides those that were asked already."""
        self._look()
        return self._placement.preempt(waiting, _not_of_clusters(running), used_gpu_s, asked)

    def misfit(self, one: Waiting) -> str | None:
        """Why this machine could never do a step."""
        self._look()
        return self._placement.misfit(one)

    def _look(self) -> None:
        """Asks the driver and the operator, unless that was a moment ago."""
        now = self.clock.monotonic()
        if self._looked_at is not None and now - self._looked_at < LOOK_S:
            return
        machine = self._machine()
        if self._told_at is None or now - self._told_at >= TELL_S:
            self.runners.see(machine)
            self._told_at = now
        runner = self.runners.find(machine.name)
        state = runner.state if runner else RunnerState.ACTIVE
        here = frozenset([machine.name])
        self._placement = replace(
            self._placement,
            machines=(machine,),
            closed=here if state is RunnerState.CORDONED else frozenset(),
            leaving=here if state is RunnerState.DRAINED else frozenset(),
        )
        self._looked_at = now

    def _machine(self) -> Machine:
        """This machine, as it is. One whose driver went away keeps its steps waiting."""
        before = self._placement.machines[0] if self._placement.machines else None
        try:
            machine = self.look()
            had_gpus = before is not None and not before.cpu_only
            return replace(machine, cpu_only=False) if had_gpus else machine
        except InfrastructureError as error:
            LOG.warning("driver.silent why=%s", error)
            name = before.name if before else socket.gethostname()
            slots = before.slots if before else 1
            return Machine(name=name, slots=slots, note=str(error))


def _not_of_clusters(running: Sequence[OpenAttempt]) -> list[OpenAttempt]:
    """Those that may be on this machine: what a cluster does takes no room, and none waits for it.

    It may never begin there, and if it goes on, its folder lets one in.
    """
    return [attempt for attempt in running if attempt.executor in (INLINE, LOCAL)]
