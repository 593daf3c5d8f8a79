"""The machines: GPUs that come and go, and an executor that only seems to run steps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random

from lora_ci.core import machine
from lora_ci.core.step import Outcome, Stage, StepResult
from lora_ci.execution.executor import Attempt, ExecutorAwayError, Phase, Place
from lora_ci.execution.fleet.time import Agenda, VirtualClock

# What a training loses at most when it is cut off.
CHECKPOINT_S = 300.0
# Results come from another machine, up to so much later than the word that the attempt has ended.
LATE_S = 20.0
CARD, CARD_GIB = "a card of 24 GB", 24.0
# Steps without a GPU that a node does at once.
CPU_STEPS = 8
AWAY = "the simulated cluster cannot be reached"


class ServerDiedError(Exception):
    """Whoever called is dead: nothing after the call has happened."""


@dataclass(slots=True)
class Gpu:
    """One GPU of a node; `held_by` is the attempt that the ledger has put on it."""

    node: str
    uuid: str
    well: bool = True
    held_by: str | None = None
    free_since_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class Running:
    """An attempt that was started, until somebody clears it."""

    attempt: Attempt
    gpu: Gpu | None
    started_s: float
    ended_s: float | None = None


@dataclass(slots=True, kw_only=True)
class Cluster:
    """Implements `execution.executor.Executor`: an attempt lasts as long as its spec says.

    `seconds` in the parameters is how long, `passes` what it comes to.
    """

    clock: VirtualClock
    agenda: Agenda
    gpus: list[Gpu]
    rng: Random
    late: bool = False
    silent_until_s: float = 0.0
    dying: bool = False
    running: dict[str, Running] = field(default_factory=dict)
    touched: list[str] = field(default_factory=list)
    done_s: dict[str, float] = field(default_factory=dict)
    busy: int = 0
    lost_s: float = 0.0

    name = "simulated"
    lag_s = 30.0

    # As the reconciler sees it

    def submit(self, attempt: Attempt) -> str:
        self.touched.append(attempt.spec.lora)
        unanswered = self._is_away() and self.rng.random() < 0.5
        if not unanswered:
            self._ask()
        dies = self.dying
        if attempt.key not in self.running:
            self._start(attempt)
        if dies:
            self._die()
        if unanswered:
            raise ExecutorAwayError(f"{AWAY}: it took the attempt, but its answer was lost")
        return attempt.key

    def phases(self, handles: Collection[str]) -> Mapping[str, Phase]:
        self._ask()
        if self.dying:
            self._die()
        return {handle: self._phase(handle) for handle in handles}

    def cancel(self, handle: str, *, hard: bool) -> None:
        self._ask()
        self.cut_off(handle, saved=not hard)

    def clear(self, handle: str) -> None:
        found = self.running.pop(handle, None)
        if found:
            self.touched.append(found.attempt.spec.lora)
            self._let_go(found)
        self._ask()
        if self.dying:
            self._die()

    # What happens to it

    def cut_off(self, key: str, *, saved: bool) -> None:
        """Ends an attempt before its time; `saved` if it could save and say so."""
        found = self.running.get(key)
        if found is None or found.ended_s is not None:
            return
        spec, took_s = found.attempt.spec, self.clock.elapsed_s - found.started_s
        kept_s = 0.0
        if spec.stage is Stage.TRAIN:
            kept_s = took_s if saved else took_s - took_s % CHECKPOINT_S
        self.done_s[spec.fingerprint] = self.done_s.get(spec.fingerprint, 0.0) + kept_s
        self._end(found)
        if found.gpu:
            self.lost_s += took_s - kept_s
        if saved:
            interrupted = StepResult(outcome=Outcome.INTERRUPTED)
            found.attempt.folder.write_result(spec.fingerprint, interrupted)

    def fail(self, gpu: Gpu, lasts_s: float, *, saved: bool = False) -> None:
        """A GPU is away for a while, and what ran on it is cut off."""
        if not gpu.well:
            return
        gpu.well = False
        if gpu.held_by:
            self.cut_off(gpu.held_by, saved=saved)
        self.agenda.note(self.clock.elapsed_s + lasts_s, lambda: self._mend(gpu))

    def well(self) -> Sequence[Gpu]:
        """The GPUs that work now."""
        return [gpu for gpu in self.gpus if gpu.well]

    def machines(self) -> tuple[machine.Machine, ...]:
        """The nodes, with the GPUs that work now."""
        nodes: dict[str, list[Gpu]] = {}
        for gpu in self.gpus:
            nodes.setdefault(gpu.node, []).append(gpu)
        return tuple(_machine(node, gpus) for node, gpus in nodes.items())

    def unsettled_since_s(self) -> float | None:
        """Since when the end of an attempt has waited to be seen; None if there is none."""
        ended = (r.ended_s for r in self.running.values() if r.ended_s is not None)
        return min(ended, default=None)

    def _is_away(self) -> bool:
        return self.clock.elapsed_s < self.silent_until_s

    def _ask(self) -> None:
        if self._is_away():
            raise ExecutorAwayError(AWAY)
        if self.dying and self.rng.random() < 0.5:
            self._die()

    def _die(self) -> None:
        self.dying = False
        raise ServerDiedError

    def _phase(self, key: str) -> Phase:
        found = self.running.get(key)
        return Phase.RUNNING if found and found.ended_s is None else Phase.ENDED

    def _start(self, attempt: Attempt) -> None:
        now_s, gpu = self.clock.elapsed_s, self._at(attempt.place)
        before = self.running.get(gpu.held_by or "") if gpu else None
        if before and before.ended_s is None:
            raise RuntimeError(f"{attempt.key} was given the GPU of {before.attempt.key}")
        found = Running(attempt=attempt, gpu=gpu, started_s=now_s)
        self.running[attempt.key] = found
        if gpu:
            gpu.held_by = attempt.key
            self.busy += 1
        if gpu and not gpu.well:
            self.cut_off(attempt.key, saved=False)
            return
        spec = attempt.spec
        left_s = max(1.0, spec.params["seconds"] - self.done_s.get(spec.fingerprint, 0.0))
        self.agenda.note(now_s + left_s, lambda: self._finish(found))

    def _at(self, place: Place) -> Gpu | None:
        if not place.gpus:
            return None
        return next(gpu for gpu in self.gpus if gpu.uuid == place.gpus[0])

    def _finish(self, found: Running) -> None:
        if found.ended_s is not None:
            return
        self._end(found)
        spec, folder = found.attempt.spec, found.attempt.folder
        outcome = Outcome.PASSED if spec.params["passes"] else Outcome.FAILED

        def arrive() -> None:
            folder.write_result(spec.fingerprint, StepResult(outcome=outcome))

        if self.late:
            self.agenda.note(self.clock.elapsed_s + self.rng.uniform(0.0, LATE_S), arrive)
        else:
            arrive()

    def _end(self, found: Running) -> None:
        found.ended_s = self.clock.elapsed_s
        # Where no result comes, that is seen now.
        self.agenda.wake(found.ended_s + self.lag_s)
        if found.gpu:
            self.busy -= 1

    def _let_go(self, found: Running) -> None:
        if found.gpu and found.gpu.held_by == found.attempt.key:
            found.gpu.held_by = None
            found.gpu.free_since_s = self.clock.elapsed_s

    def _mend(self, gpu: Gpu) -> None:
        gpu.well = True
        gpu.free_since_s = self.clock.elapsed_s


def make_gpus(count: int, per_node: int) -> list[Gpu]:
    """GPUs on nodes of so many, the last with what is left."""
    return [
        Gpu(f"node-{n // per_node + 1}", f"GPU-{n // per_node + 1}-{n % per_node + 1}")
        for n in range(count)
    ]


def _machine(node: str, gpus: Sequence[Gpu]) -> machine.Machine:
    well = [
        machine.Gpu(index=n, uuid=gpu.uuid, name=CARD, total_gib=CARD_GIB, free_gib=CARD_GIB)
        for n, gpu in enumerate(gpus)
        if gpu.well
    ]
    note = "" if len(well) == len(gpus) else f"{len(gpus) - len(well)} GPUs are away"
    return machine.Machine(name=node, gpus=tuple(well), slots=CPU_STEPS, note=note)
