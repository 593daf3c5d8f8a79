"""The service: what `app.handle` does with a push, as far as the queue is concerned."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from lora_ci.core.event import Event, EventKind
from lora_ci.core.fingerprint import make_fingerprint
from lora_ci.core.plan import Action, Decision
from lora_ci.core.step import Outcome, Resources, Stage, StepSpec
from lora_ci.execution.executor import step_folder
from lora_ci.execution.fleet.cluster import Cluster
from lora_ci.execution.fleet.loras import STAGES, Lora
from lora_ci.execution.fleet.measured import PROMPT_S
from lora_ci.execution.fleet.time import Agenda, VirtualClock
from lora_ci.execution.placement import GpuPlacement
from lora_ci.execution.tick import Policy, Reconciler
from lora_ci.execution.turns import INTERACTIVE
from lora_ci.ledger.ledger import Ledger
from lora_ci.store.local import LocalStore

# Of another machine, so that nobody looks for its process here.
OWNER = "simulated:1:1"
# The run's own process sees that a step has ended, plans again, and adds the next.
PLAN_S = 2.0
# No run's process dies here: that is for tests of the lead.
POLICY = Policy(patience_s=math.inf)


@dataclass(slots=True)
class Work:
    """A LoRA on its way; `due_s` is since when its step waits, None while an attempt is under way.

    `waited_s` is how long each of its steps on GPUs waited for its first attempt.
    """

    lora: Lora
    stage: Stage = Stage.VALIDATE
    due_s: float | None = None
    waited_s: list[float] = field(default_factory=list)
    tried: int = 0
    ended_s: float | None = None
    outcome: Outcome | None = None


@dataclass(slots=True, kw_only=True)
class Service:
    """The server and the runs. The server may die, and another begins with what the ledger has."""

    ledger: Ledger
    cluster: Cluster
    clock: VirtualClock
    agenda: Agenda
    root: Path
    placement: GpuPlacement = field(default_factory=lambda: GpuPlacement(machines=()))
    reconciler: Reconciler | None = None
    missed: list[Lora] = field(default_factory=list)
    work: dict[str, Work] = field(default_factory=dict)
    wanted: dict[str, None] = field(default_factory=dict)
    waiting: dict[str, None] = field(default_factory=dict)
    ended: list[Work] = field(default_factory=list)
    ticks: int = 0
    attempts: int = 0

    def start(self) -> None:
        """A server begins, and asks for the pushes that nobody took."""
        self.placement = GpuPlacement(machines=())
        self.reconciler = Reconciler(
            ledger=self.ledger,
            executor=self.cluster,
            store=LocalStore(self.root / "objects"),
            clock=self.clock,
            placement=self.placement,
            room=None,
            policy=POLICY,
        )
        missed, self.missed = self.missed, []
        for lora in missed:
            self.take(lora)

    def die(self, lasts_s: float) -> None:
        """The server is no more; after a while another one starts."""
        self.reconciler = None
        self.agenda.note(self.clock.elapsed_s + lasts_s, self.start)

    def take(self, lora: Lora) -> None:
        """A push arrives."""
        if self.reconciler is None:
            self.missed.append(lora)
            return
        event = Event(kind=EventKind.PUSH, repo=lora.repo, head=lora.name)
        self.ledger.start_run(lora.name, event)
        self.ledger.queue.beat(lora.name, OWNER)
        self.work[lora.name] = Work(lora)
        self._add(self.work[lora.name])

    def tick(self) -> None:
        """One tick of the server, if there is one, and what the runs do after it."""
        if self.reconciler is None:
            return
        self.ticks += 1
        self.placement.machines = self.cluster.machines()
        try:
            self.reconciler.tick()
        finally:
            self._follow()

    def out_since_s(self) -> float | None:
        """Since when the service has not done its work; None while it does.

        It is out while there is no server, and as long as something has waited too long for it: the
        end of an attempt to be seen, or a step beside a GPU or a processor that is free.
        """
        if self.reconciler is None:
            return self.clock.elapsed_s
        waits = []
        if (unseen_s := self.cluster.unsettled_since_s()) is not None:
            waits.append(unseen_s + self.cluster.lag_s)
        waits += self._beside_a_gpu()
        return min(waits) + PROMPT_S if waits else None

    def _beside_a_gpu(self) -> list[float]:
        free = [g.free_since_s for g in self.cluster.gpus if g.well and not g.held_by]
        if not free:
            return []
        due = [s for s in (self.work[name].due_s for name in self.waiting) if s is not None]
        return [max(min(due), min(free))] if due else []

    def _add(self, work: Work) -> None:
        """Adds the step of the stage that a LoRA has come to."""
        lora, stage = work.lora, work.stage
        fingerprint = make_fingerprint(stage, {"lora": lora.name})
        decision = Decision(
            lora=lora.name, stage=stage, action=Action.RUN, why="pushed", fingerprint=fingerprint
        )
        spec = StepSpec(
            stage=stage,
            lora=lora.name,
            fingerprint=fingerprint.value,
            inputs={},
            params={
                "seconds": lora.stage_s[stage],
                "passes": lora.good or stage is not Stage.VALIDATE,
            },
            resources=Resources(gpus=0 if stage is Stage.VALIDATE else 1),
        )
        folder = step_folder(self.root, fingerprint.value).path
        self.ledger.queue.add(
            lora.name,
            decision,
            spec,
            commit=lora.name,
            folder=folder,
            repo=lora.repo,
            priority=INTERACTIVE,
        )
        work.due_s, work.tried = self.clock.elapsed_s, 0
        if spec.resources.gpus:
            self.wanted[lora.name] = self.waiting[lora.name] = None

    def _follow(self) -> None:
        """Sees what the tick has begun and ended."""
        touched, self.cluster.touched = dict.fromkeys(self.cluster.touched), []
        running = {r.attempt.spec.lora for r in self.cluster.running.values() if r.ended_s is None}
        for name in touched:
            work = self.work[name]
            if work.ended_s is not None:
                continue
            if name in running:
                self._begun(work)
            elif result := self.ledger.queue.result(name, name, work.stage):
                self._ended(work, result.outcome)
            elif work.due_s is None:
                work.due_s = self.clock.elapsed_s + POLICY.delays_s[-1]
                for delay_s in POLICY.delays_s:
                    self.agenda.wake(self.clock.elapsed_s + delay_s)
                if name in self.wanted:
                    self.waiting[name] = None

    def _begun(self, work: Work) -> None:
        if work.due_s is None:
            return
        self.attempts += 1
        if not work.tried and work.lora.name in self.wanted:
            work.waited_s.append(self.clock.elapsed_s - work.due_s)
        work.due_s = None
        work.tried += 1
        self.waiting.pop(work.lora.name, None)

    def _ended(self, work: Work, outcome: Outcome) -> None:
        name = work.lora.name
        self.wanted.pop(name, None)
        self.waiting.pop(name, None)
        fingerprint = make_fingerprint(work.stage, {"lora": name}).value
        shutil.rmtree(step_folder(self.root, fingerprint).path, ignore_errors=True)
        self.cluster.done_s.pop(fingerprint, None)
        if outcome is Outcome.PASSED and work.stage is not STAGES[-1]:
            work.stage = STAGES[STAGES.index(work.stage) + 1]
            self.agenda.note(self.clock.elapsed_s + PLAN_S, lambda: self._add(work))
            return
        work.ended_s, work.outcome = self.clock.elapsed_s, outcome
        self.ended.append(self.work.pop(name))
