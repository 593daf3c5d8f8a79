"""The reconciler: looks at a run's steps and moves them on, until none is left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lora_ci.core.clock import Clock
from lora_ci.core.errors import InfrastructureError
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.step import Outcome, Stage, StepResult
from lora_ci.execution.executor import Executor, step_folder
from lora_ci.ledger.ledger import MAX_ATTEMPTS, Ledger, StepRow, StepState

Watch = Callable[[str, Stage, int, int, str], None]

POLL_S = 0.1
SLACK_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciler:
    """Everything a tick needs."""

    ledger: Ledger
    executor: Executor
    clock: Clock
    state: Path
    watch: Watch
    parallel: int = 1

    def drive(self, run_id: str) -> None:
        """Ticks until every step of the run has ended. Bounded by the steps' own time limits."""
        steps = self.ledger.unfinished(run_id)
        limit = sum(s.spec.resources.timeout_s for s in steps) * MAX_ATTEMPTS
        deadline = self.clock.monotonic() + limit + SLACK_S
        while self.tick(run_id):
            if self.clock.monotonic() > deadline:
                raise InfrastructureError(f"run {run_id} is not done after {limit:.0f} s")
            self.clock.sleep(POLL_S)

    def tick(self, run_id: str) -> bool:
        """Observes and advances each step, then starts what there is room for; False at the end."""
        steps = self.ledger.unfinished(run_id)
        running = [s for s in steps if s.state is StepState.RUNNING]
        for step in running:
            self.observe(step)
        room = self.parallel - len(running)
        for step in [s for s in steps if s.state is StepState.WAITING][: max(room, 0)]:
            self.dispatch(step)
        return bool(self.ledger.unfinished(run_id))

    def dispatch(self, step: StepRow) -> None:
        """Starts a waiting step. Two runs may start one fingerprint: the folder lets in one."""
        folder = step_folder(self.state, step.fingerprint)
        folder.write_spec(step.spec)
        done = folder.read_result(step.fingerprint)
        if done and done.outcome in (Outcome.ERROR, Outcome.INTERRUPTED):
            folder.drop_result()
        if self.ledger.mark_running(step, "starting"):
            handle = self.executor.submit(folder, step.spec)
            self.ledger.note_handle(step, handle)

    def observe(self, step: StepRow) -> None:
        """Adopts the result of an attempt that ended; shows how far a running one is."""
        folder = step_folder(self.state, step.fingerprint)
        handle = step.handle or "starting"
        if handle != "starting" and self.executor.running(folder, handle):
            if progress := folder.read_progress():
                self.watch(step.lora, step.stage, progress.done, progress.total, progress.note)
            return
        result = folder.read_result(step.fingerprint) or _vanished(step)
        if result.outcome is Outcome.ERROR and step.attempts < MAX_ATTEMPTS:
            self.ledger.mark_waiting(step)
        else:
            self.ledger.finish(step, result)


def _vanished(step: StepRow) -> StepResult:
    finding = Finding(
        rule="step.vanished",
        severity=Severity.ERROR,
        message=f"{step.stage} of {step.lora} ended without a result (killed, or out of memory)",
        hint="the log of the step has its last words; the same command goes on where it stopped",
    )
    return StepResult(outcome=Outcome.ERROR, findings=(finding,))
