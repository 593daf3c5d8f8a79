"""The reconciler: looks at a run's steps and moves them on, until none is left."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from lora_ci.core.clock import Clock
from lora_ci.core.errors import InfrastructureError, Interrupted, LoraCIError
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.signals import stop_on_signal
from lora_ci.core.step import Outcome, StepResult
from lora_ci.execution.executor import Executor, Watch, step_folder
from lora_ci.ledger.ledger import MAX_ATTEMPTS, Ledger, StepRow, StepState
from lora_ci.steps.folder import StepFolder
from lora_ci.steps.outcome import result_of

POLL_S = 0.1
SLACK_S = 60.0
STARTING = "starting"
AGAIN = (Outcome.ERROR, Outcome.INTERRUPTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciler:
    """Everything a tick needs."""

    ledger: Ledger
    executor: Executor
    clock: Clock
    state: Path
    watch: Watch
    parallel: int = 1

    def drive(self, run_id: str) -> bool:
        """Ticks until every step of the run has ended; False if a signal stopped it before.

        Bounded by the steps' own time limits. A stopped run leaves no attempt of its own behind.
        """
        steps = self.ledger.unfinished(run_id)
        limit = sum(s.spec.resources.timeout_s for s in steps) * MAX_ATTEMPTS
        deadline = self.clock.monotonic() + limit + SLACK_S
        try:
            while self.tick(run_id):
                if self.clock.monotonic() > deadline:
                    raise InfrastructureError(f"run {run_id} is not done after {limit:.0f} s")
                self.clock.sleep(POLL_S)
        except (KeyboardInterrupt, Interrupted):
            self.stop(run_id)
            return False
        return True

    def tick(self, run_id: str) -> bool:
        """Observes and advances each step, starts what there is room for; False at the end."""
        steps = self.ledger.unfinished(run_id)
        busy = sum(self.observe(s) for s in steps if s.state is StepState.RUNNING)
        for step in steps:
            if step.state is StepState.WAITING and busy < self.parallel:
                busy += self.dispatch(step)
        return bool(self.ledger.unfinished(run_id))

    def dispatch(self, step: StepRow) -> bool:
        """Starts a waiting step; True if it is running now.

        Two runs may start one fingerprint: the folder lets in one.
        """
        if not self.ledger.mark_running(step, STARTING):
            return False
        step = replace(step, attempts=step.attempts + 1, handle=STARTING)
        folder = step_folder(self.state, step.fingerprint)
        try:
            folder.write_spec(step.spec)
            done = folder.read_result(step.fingerprint)
            if done and done.outcome in AGAIN:
                folder.drop_result()
            # A signal between the two would leave an attempt that nobody knows.
            with stop_on_signal() as stop:
                handle = self.executor.submit(folder, step.spec)
                self.ledger.note_handle(step, handle)
        except Interrupted:
            raise
        except (LoraCIError, OSError) as error:
            self.settle(step, result_of(error, f"{step.stage} of {step.lora}", folder.path))
            return False
        if stop.raised:
            raise Interrupted("stopped as the step was started")
        return self.observe(replace(step, handle=handle))

    def observe(self, step: StepRow) -> bool:
        """Adopts the result of an attempt that ended; True if it is running, shows how far."""
        folder = step_folder(self.state, step.fingerprint)
        handle = step.handle or STARTING
        if handle != STARTING and self.executor.running(folder, handle):
            if progress := folder.read_progress():
                self.watch(step.lora, step.stage, progress.done, progress.total, progress.note)
            return True
        self.settle(step, folder.read_result(step.fingerprint) or _vanished(step, folder))
        return False

    def settle(self, step: StepRow, result: StepResult) -> None:
        """Ends the step with the result, or lets it wait for another attempt."""
        if result.outcome in AGAIN and step.attempts < MAX_ATTEMPTS:
            self.ledger.mark_waiting(step)
        else:
            self.ledger.finish(step, result)

    def stop(self, run_id: str) -> None:
        """Ends the attempts of the run gently; each leaves its checkpoint and what it found."""
        for step in self.ledger.unfinished(run_id):
            if step.state is StepState.RUNNING:
                folder = step_folder(self.state, step.fingerprint)
                if step.handle and step.handle != STARTING:
                    self.executor.cancel(folder, step.handle)
                result = folder.read_result(step.fingerprint)
                self.ledger.finish(step, result or StepResult(outcome=Outcome.INTERRUPTED))


def _vanished(step: StepRow, folder: StepFolder) -> StepResult:
    words = folder.last_words()
    finding = Finding(
        rule="step.vanished",
        severity=Severity.ERROR,
        message=f"{step.stage} of {step.lora} ended without a result: "
        + (f"its last words were: {words}" if words else "it was killed, or ran out of memory"),
        hint=f"next: tail {folder.log}; the same command goes on where it stopped",
    )
    return StepResult(outcome=Outcome.ERROR, findings=(finding,))
