"""Waits until the steps of a run have ended, and moves them on if nobody else does."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from threading import Event, Thread

from lora_ci.core.clock import Clock
from lora_ci.core.errors import Interrupted, LedgerAwayError
from lora_ci.execution.executor import INLINE, ExecutorAwayError, Watch
from lora_ci.execution.lead import Leadership, this_process
from lora_ci.execution.tick import Reconciler
from lora_ci.ledger.queue import StepRow, StepState
from lora_ci.steps.folder import StepFolder

LOG = logging.getLogger("lora_ci.execution")

POLL_S = 0.1
BEAT_S = 3.0
# So long a database may be away before a run gives up; its steps go on.
PATIENCE_S = 300.0
AGAIN_S = 1.0
# An executor that never answered is asked for so long; then the run ends, and may be begun again.
NOBODY_S = 600.0
# A run that is stopped waits so long for an executor that does not answer; whoever is next ends it.
AWAY_S = 5.0
# A run whose steps all wait says so after that.
WAITING_S = 10.0
STOPPED = "stopped by a signal"


@dataclass(slots=True)
class _Still:
    """So many steps wait since then, and none goes on."""

    steps: int
    since: float
    told: bool = False


@dataclass(slots=True, kw_only=True)
class Driver:
    """Drives runs. Steps outlive it; with the inline executor they run in here."""

    reconciler: Reconciler
    clock: Clock
    watch: Watch
    lead: Leadership | None = None
    owner: str = field(default_factory=this_process)
    _beaten: float | None = None
    _still: _Still | None = None
    _stopping: bool = False

    def drive(self, run_id: str, *, leave: int = 0) -> bool:
        """Returns True once at most `leave` steps of the run are left, False after a signal.

        A stopped run leaves no attempt of its own behind.

        Raises:
            LedgerAwayError: the ledger stayed away.
            ExecutorAwayError: the executor never answered.
        """
        inline = self.reconciler.executor.name == INLINE
        try:
            with self._beating(run_id) if inline else nullcontext():
                self._until(lambda: self._turn(run_id) <= leave)
        except (KeyboardInterrupt, Interrupted):
            self.stop(run_id)
            return False
        finally:
            if self.lead:
                with suppress(LedgerAwayError):
                    self.lead.resign()
        return True

    def _turn(self, run_id: str) -> int:
        """One turn; how many steps of the run are left."""
        queue = self.reconciler.ledger.queue
        now = self.clock.monotonic()
        if self._beaten is None or now - self._beaten > BEAT_S:
            queue.beat(run_id, self.owner)
            self._beaten = now
        if self.lead is None or self.lead.lead():
            self.reconciler.tick()
            self._give_up_on_silence()
        left = queue.unfinished(run_id)
        self._show(left)
        self._tell_waiting(run_id, left)
        return len(left)

    def _give_up_on_silence(self) -> None:
        """Raises ExecutorAwayError where the executor has not answered once for long."""
        silence = self.reconciler.silence
        if silence and self.clock.monotonic() - silence.since > NOBODY_S:
            waited = f"{self.reconciler.executor.name} did not answer once in {NOBODY_S / 60:.0f}"
            message = f"{waited} minutes; the same command goes on once it does: {silence.why}"
            raise ExecutorAwayError(message, hint=silence.why.findings[0].hint)

    @contextmanager
    def _beating(self, run_id: str) -> Iterator[None]:
        """Says that the run lives while a step runs in this very process, which takes hours."""
        ended = Event()

        def beat() -> None:
            while not ended.wait(BEAT_S):
                with suppress(LedgerAwayError):
                    self.reconciler.ledger.queue.beat(run_id, self.owner)

        beating = Thread(target=beat, daemon=True)
        beating.start()
        try:
            yield
        finally:
            ended.set()
            beating.join()

    def _show(self, steps: Sequence[StepRow]) -> None:
        if self.reconciler.executor.name == INLINE:
            return
        for step in steps:
            if step.state is StepState.RUNNING and (
                progress := StepFolder(step.folder).read_progress()
            ):
                self.watch(step.lora, step.stage, progress.done, progress.total, progress.note)

    def _tell_waiting(self, run_id: str, left: Sequence[StepRow]) -> None:
        """Says once that nothing of the run goes on; why is asked of the ledger by who wonders."""
        now, count = self.clock.monotonic(), len(left)
        if not left or any(step.state is StepState.RUNNING for step in left):
            self._still = None
        elif self._still is None or self._still.steps != count:
            self._still = _Still(count, now)
        elif not self._still.told and now - self._still.since > WAITING_S:
            self._still.told = True
            LOG.warning("run.waits steps=%d next: lora-ci status %s, for what", count, run_id)

    def _until(self, done: Callable[[], bool]) -> None:
        """Turns until it is done. A ledger that is away is waited for."""
        away_since: float | None = None
        while True:
            try:
                if done():
                    return
                away_since = None
                self.clock.sleep(POLL_S)
            except LedgerAwayError as error:
                now = self.clock.monotonic()
                inline = self.reconciler.executor.name == INLINE
                if inline or (away_since is not None and now - away_since > PATIENCE_S):
                    raise
                if away_since is None:
                    away_since = now
                    LOG.warning("ledger.away patience_s=%.0f why=%s", PATIENCE_S, error)
                self.clock.sleep(AGAIN_S)

    def _taken_over(self, run_id: str) -> tuple[str, ...]:
        """Runs whose process is gone, and whose attempts do what this run waits for."""
        queue = self.reconciler.ledger.queue
        works = {s.fingerprint for s in queue.unfinished(run_id) if s.state is StepState.WAITING}
        runs = {
            attempt.step.run_id
            for attempt in queue.open_attempts()
            if attempt.step.fingerprint in works and self.reconciler.is_left(attempt)
        }
        return tuple(sorted(runs))

    def _tell_stopping(self, running: int) -> None:
        """Says what is waited for, where it is not over already."""
        if running and self.reconciler.executor.name != INLINE:
            LOG.warning(
                "run.stopping steps=%d grace_s=%g next: wait, they save; Ctrl-C again leaves them",
                running,
                self.reconciler.policy.grace_s,
            )

    def stop(self, run_id: str) -> None:
        """Ends the attempts of the run gently; each leaves its checkpoint and what it found.

        Called again, because another signal came, it waits no longer: they were asked to end.
        """
        if self._stopping:
            return
        self._stopping = True
        queue = self.reconciler.ledger.queue
        # What a dead run began and this one waits for would go on for nobody.
        runs = (run_id, *self._taken_over(run_id))
        for stopped in runs:
            queue.stop(stopped, STOPPED)

        def running() -> list[StepRow]:
            return [s for r in runs for s in queue.unfinished(r) if s.state is StepState.RUNNING]

        self._tell_stopping(len(running()))
        until = self.clock.monotonic() + 2 * self.reconciler.policy.grace_s
        answered = self.clock.monotonic()
        while running():
            now = self.clock.monotonic()
            answered = now if not self.reconciler.is_away else answered
            if now > until or now - answered > AWAY_S:
                return
            if self.lead is None or self.lead.lead():
                self.reconciler.tick()
            self.clock.sleep(POLL_S)
