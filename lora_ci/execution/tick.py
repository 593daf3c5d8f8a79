"""The reconciler: looks at attempts, ends those that are to end, begins what there is room for.

It may be killed between any two lines, and several may be at it: each line is a transition that is
done once, or a question, or an executor's call that may be made twice.
"""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import islice
from typing import Any

from lora_ci.core.clock import Clock
from lora_ci.core.errors import (
    InfrastructureError,
    Interrupted,
    LedgerAwayError,
    LoraCIError,
)
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.signals import StopFlag, stop_on_signal
from lora_ci.core.step import Outcome, StepResult, StepSpec
from lora_ci.execution.executor import (
    INLINE,
    LOCAL,
    Attempt,
    Executor,
    ExecutorAwayError,
    Phase,
    Place,
)
from lora_ci.execution.lead import PATIENCE_S, Watched, host_of, is_alive, is_gone
from lora_ci.execution.turns import Anywhere, Choice, Placement, within_quota
from lora_ci.ledger.ledger import Ledger
from lora_ci.ledger.queue import OpenAttempt, StepRow, StepState, Waiting
from lora_ci.steps.folder import StepFolder
from lora_ci.steps.main import is_whole
from lora_ci.steps.outcome import result_of
from lora_ci.store.store import ArtifactStore

LOG = logging.getLogger("lora_ci.execution")

# Fairness looks back so far.
LATELY = timedelta(days=7)
# Of each repository so many waiting steps are looked at, or as many as there is room for.
BATCH = 64
# After that what has ended is looked at again before more begins: executors may be slow to start.
BEGIN_S = 2.0
# So many begin in one transaction, where those before took no longer than that.
MANY, SOON_S = 64, 0.25
AGAIN = (Outcome.ERROR, Outcome.INTERRUPTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How patient a reconciler is.

    An error is tried `failures` times, after each of `delays_s`; an attempt that a machine cut off
    (a node that is drained, say) begins again up to `interruptions` times. One that is asked to end
    has `grace_s` for its checkpoint. A step's own time limit counts from where it was first seen
    to run. An executor that says of an attempt that it runs is believed for `denied_s` after its
    result is there, and for as long after it was killed.
    """

    failures: int = 3
    interruptions: int = 20
    delays_s: tuple[float, ...] = (0.0, 5.0, 60.0)
    grace_s: float = 60.0
    denied_s: float = 60.0
    patience_s: float = PATIENCE_S


@dataclass(slots=True)
class _Seen:
    """What this process remembers of an attempt."""

    running_since: float | None = None
    alive_at: float | None = None
    ended_since: float | None = None
    asked_at: float | None = None
    killed_at: float | None = None
    limit_s: float | None = None
    late: str = ""
    preempted: bool = False


@dataclass(frozen=True, slots=True)
class Silence:
    """An executor has not answered once since then (monotonic seconds), for that reason."""

    since: float
    why: InfrastructureError


@dataclass(slots=True, kw_only=True)
class Reconciler:
    """Moves the steps of one run on, or of all (`run_id` is None).

    `room` is how many go on at a time; None: as many as the placement has a place for. Of the GPUs
    the steps of one repository have `quota` at most; None: no limit.
    """

    ledger: Ledger
    executor: Executor
    store: ArtifactStore
    clock: Clock
    run_id: str | None = None
    placement: Placement = field(default_factory=Anywhere)
    room: int | None = 1
    quota: int | None = None
    policy: Policy = field(default_factory=Policy)
    _seen: dict[str, _Seen] = field(default_factory=dict)
    _owners: Watched | None = None
    _away: bool = False
    _answered: bool = False
    _silence: Silence | None = None
    _ended: bool = False

    def tick(self) -> None:
        """One look at everything, and what follows from it.

        Raises:
            InfrastructureError: the ledger cannot be used now.
            Interrupted, KeyboardInterrupt: a signal came; what was begun goes on.
        """
        attempts, self._ended = self.ledger.queue.open_attempts(), False
        self._observe(attempts)
        self._dispatch(self.ledger.queue.open_attempts() if self._ended else attempts)

    # What runs

    def _observe(self, attempts: Sequence[OpenAttempt]) -> None:
        for key in self._seen.keys() - {a.key for a in attempts}:
            del self._seen[key]
        ours = [a for a in attempts if a.executor == self.executor.name and self._minds(a)]
        self._observe_inline([a for a in attempts if a.executor == INLINE])
        if self.executor.name == INLINE:
            return
        known = [a for a in ours if a.handle is not None]
        try:
            phases = self.executor.phases([a.handle for a in known if a.handle])
        except InfrastructureError as error:
            self._tell_away(error)
            return
        if known:
            self._note_answer()
        nameless = [a for a in ours if a.handle is None]
        self._submit([a for a in nameless if self.run_id in (None, a.step.run_id)])
        for attempt in nameless:
            if self.run_id not in (None, attempt.step.run_id):
                # What its run was about is known to nobody any more.
                self._give_up(attempt)
        for attempt in known:
            try:
                self._look_at(attempt, phases.get(attempt.handle or "", Phase.ENDED))
            except LedgerAwayError:
                raise
            except LoraCIError as error:
                # One that cannot be looked at holds up no other.
                LOG.warning("attempt.unreadable key=%s why=%s", attempt.key, error)

    def _minds(self, attempt: OpenAttempt) -> bool:
        """False for one of another machine's processes, or that another run looks after."""
        if self._is_elsewhere(attempt):
            return False
        return self.run_id in (None, attempt.step.run_id) or self.is_left(attempt)

    def _is_elsewhere(self, attempt: OpenAttempt) -> bool:
        """True for one of another machine's processes."""
        here = socket.gethostname()
        return attempt.executor == LOCAL and (attempt.place.get("node") or here) != here

    @property
    def is_away(self) -> bool:
        """True while the executor does not answer."""
        return self._away

    @property
    def silence(self) -> Silence | None:
        """Since when the executor was asked in vain; None once it has answered."""
        return self._silence

    def _tell_away(self, error: InfrastructureError) -> None:
        """Says so once, and not at every tick."""
        if not self._away:
            hint = error.findings[0].hint or ""
            LOG.warning("executor.away name=%s why=%s %s", self.executor.name, error, hint)
        self._away = True
        if not self._answered:
            since = self._silence.since if self._silence else self.clock.monotonic()
            self._silence = Silence(since, error)

    def _note_answer(self) -> None:
        self._away, self._answered, self._silence = False, True, None

    def _observe_inline(self, attempts: Sequence[OpenAttempt]) -> None:
        """Such an attempt ends with its process: what is open here was left by one."""
        for attempt in attempts:
            if self.is_left(attempt):
                self._give_up(attempt)
            elif attempt.step.run_id == self.run_id and self.executor.name == INLINE:
                # It ran here, and this process is not in it any more.
                self._settle(attempt)

    def _look_at(self, attempt: OpenAttempt, phase: Phase) -> None:
        seen, now = self._seen.setdefault(attempt.key, _Seen()), self.clock.monotonic()
        if phase is Phase.ENDED:
            seen.ended_since = now if seen.ended_since is None else seen.ended_since
            # The result may still be on its way from another machine. One that is stopped is not
            # waited for: it may not have begun, and what it left serves the next in any case.
            late = not attempt.stopping and now - seen.ended_since < self.executor.lag_s
            if not (late and self._result(attempt) is None):
                self._settle(attempt)
            return
        seen.ended_since = None
        if phase is Phase.RUNNING:
            seen.running_since = now if seen.running_since is None else seen.running_since
            seen.alive_at = now
        if attempt.stopping or seen.preempted:
            self._end(attempt, seen)
        elif self._is_over_time(attempt, seen):
            seen.late = f"took longer than {seen.limit_s:.0f} s (`resources.timeout_hours`)"
            self._end(attempt, seen)
        elif phase is Phase.RUNNING and self._is_denied(attempt, seen):
            self._end(attempt, seen)
        if seen.killed_at is not None and now - seen.killed_at > self.policy.denied_s:
            # If it does run, it has the folder's lock, and the next attempt waits for that.
            self._settle(attempt)

    def _is_over_time(self, attempt: OpenAttempt, seen: _Seen) -> bool:
        if seen.running_since is None:
            return False
        if seen.limit_s is None:
            spec = self.ledger.queue.specs([attempt.step])[attempt.step.id]
            if isinstance(spec, InfrastructureError):
                raise spec
            seen.limit_s = spec.resources.timeout_s
        return self.clock.monotonic() - seen.running_since > seen.limit_s

    def _is_denied(self, attempt: OpenAttempt, seen: _Seen) -> bool:
        """True where the result has been there for long, and the executor says that it runs."""
        since = seen.running_since
        if since is None or self.clock.monotonic() - since <= self.policy.denied_s:
            return False
        result = _folder(attempt.step).last_result_age_s(self.clock.now().timestamp())
        return (
            result is not None
            and result > self.policy.denied_s
            and self._result(attempt) is not None
        )

    def _end(self, attempt: OpenAttempt, seen: _Seen) -> None:
        """Asks the attempt to end, and ends it where it does not heed that."""
        now, handle = self.clock.monotonic(), attempt.handle or ""
        try:
            if seen.asked_at is None:
                self.executor.cancel(handle, hard=False)
                seen.asked_at = now
            elif now - seen.asked_at > self.policy.grace_s:
                self.executor.cancel(handle, hard=True)
                seen.killed_at = now if seen.killed_at is None else seen.killed_at
                seen.asked_at = now
        except InfrastructureError as error:
            LOG.warning("cancel.failed key=%s why=%s", attempt.key, error)

    def _settle(self, attempt: OpenAttempt) -> None:
        """Ends the attempt with the result that it left, or lets the step wait for another."""
        seen = self._seen.setdefault(attempt.key, _Seen())
        folder = _folder(attempt.step)
        try:
            result = self._result(attempt) or (
                # It was asked to end, and may not have begun.
                StepResult(outcome=Outcome.INTERRUPTED)
                if attempt.stopping
                else _vanished(attempt.step, folder)
            )
            if result.outcome is Outcome.PASSED and not is_whole(result, self.store):
                result = _lost(attempt.step)
        except LoraCIError as error:
            result = result_of(error, _named(attempt.step), folder.path)
        if seen.late and result.outcome in AGAIN:
            result = _too_late(attempt.step, seen.late)
        log = self._keep_log(folder)
        if attempt.handle and self.executor.name != INLINE:
            self._clear(attempt.handle)
        self._note(attempt, result, log)

    def _note(self, attempt: OpenAttempt, result: StepResult, log: str | None) -> None:
        self._ended = True
        queue, step, policy = self.ledger.queue, attempt.step, self.policy
        # One that had to make room is to blame for nothing, however often.
        preempted = self._seen.setdefault(attempt.key, _Seen()).preempted
        if (attempt.stopping or preempted) and result.outcome is Outcome.ERROR:
            result = StepResult(outcome=Outcome.INTERRUPTED, findings=result.findings)
        failed_for_good = (
            result.outcome is Outcome.ERROR and step.failures + 1 >= policy.failures
        ) or (step.attempts >= policy.interruptions and not preempted)
        idle_s = self._idle_s(attempt)
        if result.outcome not in AGAIN or attempt.stopping or failed_for_good:
            queue.finish(attempt, result, log=log, idle_s=idle_s)
            return
        delay_s = policy.delays_s[min(step.failures, len(policy.delays_s) - 1)]
        if queue.again(attempt, result.outcome, delay_s=delay_s, log=log, idle_s=idle_s):
            why = result.findings[0].message if result.findings else result.outcome
            told = "step.again step=%s attempt=%d in_s=%g why=%s"
            LOG.warning(told, _named(step), step.attempts + 1, delay_s, why)

    def _idle_s(self, attempt: OpenAttempt) -> float:
        """How long ago the attempt last lived, as far as that can be told.

        It may have ended while nobody looked, days ago.
        """
        seen = self._seen.setdefault(attempt.key, _Seen())
        ages = [_folder(attempt.step).last_sign_age_s(self.clock.now().timestamp())]
        ages += [self.clock.monotonic() - seen.alive_at] if seen.alive_at is not None else []
        return max(0.0, min((age for age in ages if age is not None), default=0.0))

    def _result(self, attempt: OpenAttempt) -> StepResult | None:
        return _folder(attempt.step).read_result(attempt.step.fingerprint)

    def _keep_log(self, folder: StepFolder) -> str | None:
        try:
            return self.store.put(folder.log) if folder.log.exists() else None
        except (OSError, LoraCIError):
            return None

    def _clear(self, handle: str) -> None:
        try:
            self.executor.clear(handle)
        except InfrastructureError as error:
            LOG.warning("clear.failed handle=%s why=%s", handle, error)

    def is_left(self, attempt: OpenAttempt) -> bool:
        """True for one of a run that nobody moves on any more."""
        return attempt.step.run_id != self.run_id and self._is_abandoned(
            attempt.step.run_id, attempt.owner, attempt.beat
        )

    def _is_abandoned(self, run_id: str, owner: str | None, beat: int) -> bool:
        if owner is None or is_gone(owner):
            return True
        if is_alive(owner):
            # It may be deep in a step, which takes hours.
            return False
        self._owners = self._owners or Watched(clock=self.clock, patience_s=self.policy.patience_s)
        return self._owners.is_still(run_id, (owner, beat))

    def _give_up(self, attempt: OpenAttempt) -> None:
        """Ends an attempt that died with its run; what it left in the folder serves the next."""
        self._ended = True
        lost, idle_s = StepResult(outcome=Outcome.INTERRUPTED), self._idle_s(attempt)
        self.ledger.queue.finish(attempt, lost, idle_s=idle_s)

    # What waits

    def _dispatch(self, running: Sequence[OpenAttempt]) -> None:
        name = self.executor.name
        mine = [a for a in running if a.executor == name and not self._is_elsewhere(a)]
        if self.run_id is not None:
            mine = [a for a in mine if a.step.run_id == self.run_id]
        free = sys.maxsize if self.room is None else self.room - len(mine)
        if free <= 0 and isinstance(self.placement, Anywhere):
            return
        if self._away and any(a.handle is None for a in mine):
            # One is enough to see when it is there again.
            return
        queue = self.ledger.queue
        most = BATCH if self.room is None else max(BATCH, free)
        due = queue.waiting(run_id=self.run_id, most=most)
        fitting = [w for w in self._wanted(due) if self._fits(w)]
        waiting = within_quota(fitting, running, self.quota)
        since = (self.clock.now() - LATELY).date().isoformat()
        used = queue.used_gpu_s(since) if waiting else {}
        asked = [key for key, seen in self._seen.items() if seen.asked_at is not None]
        for key in self.placement.preempt(waiting, running, used, asked):
            self._seen.setdefault(key, _Seen()).preempted = True
        if not waiting:
            return
        choices = iter(self.placement.choose(waiting, running, used))
        until, many = self.clock.monotonic() + BEGIN_S, 1
        while batch := list(islice(choices, max(0, min(many, free)))):
            started = self.clock.monotonic()
            free -= self._begin(batch, running)
            now = self.clock.monotonic()
            if now > until or self._away:
                return
            many = min(2 * many, MANY) if now - started < SOON_S else 1

    def _fits(self, waiting: Waiting) -> bool:
        """Ends a step for which there never will be a place: it would wait for ever."""
        why = self.placement.misfit(waiting)
        if self.quota is not None and waiting.gpus > self.quota:
            why = f"asks for {waiting.gpus} GPUs; a repository may have {self.quota} (`--quota`)"
        if why is not None:
            self.ledger.queue.settle(waiting.step, _misfit(waiting.step, why))
        return why is None

    def _wanted(self, waiting: Sequence[Waiting]) -> list[Waiting]:
        """Without the steps of runs that nobody moves on any more; asked once for each run."""
        left: dict[str, bool] = {}
        for one in waiting:
            run_id = one.step.run_id
            if run_id not in left:
                abandoned = self._is_abandoned(run_id, one.owner, one.beat)
                left[run_id] = run_id != self.run_id and (abandoned or self._is_far(one))
        return [one for one in waiting if not left[one.step.run_id]]

    def _is_far(self, waiting: Waiting) -> bool:
        """True for a step whose run has its files on another machine, where that matters."""
        if self.executor.name != LOCAL or waiting.owner is None:
            return False
        return host_of(waiting.owner) != socket.gethostname()

    def _begin(self, choices: Sequence[Choice], running: Sequence[OpenAttempt]) -> int:
        """Starts waiting steps; how many take room now."""
        queue, name = self.ledger.queue, self.executor.name
        found = self.ledger.found({c.waiting.step.fingerprint for c in choices})
        wanted: list[tuple[Waiting, dict[str, Any]]] = []
        for choice in choices:
            waiting = choice.waiting
            record = found.get(waiting.step.fingerprint)
            # Another run may have done it since.
            since = record is not None and record.finished_at > waiting.queued_at
            if record and since and is_whole(record.result, self.store):
                queue.settle(waiting.step, record.result)
            else:
                node = choice.place.node or (socket.gethostname() if name == LOCAL else "")
                wanted.append((waiting, {"node": node, "gpus": list(choice.place.gpus)}))
        started_at = self.clock.now().isoformat(timespec="microseconds")
        keys = queue.begin([(w.step, place) for w, place in wanted], executor=name)
        begun = []
        for (waiting, place), key in zip(wanted, keys, strict=True):
            if key is None:
                self._give_up_lost(waiting.step.fingerprint, running)
            else:
                begun.append(_begun(waiting, key, name, place, started_at))
        return self._submit(begun, new=True)

    def _give_up_lost(self, work: str, running: Sequence[OpenAttempt]) -> None:
        """Gives up work that is under way on another machine, whose run told nothing for long."""
        for attempt in running:
            same = attempt.step.fingerprint == work
            if same and self._is_elsewhere(attempt) and self.is_left(attempt):
                self._give_up(attempt)

    def _submit(self, attempts: Sequence[OpenAttempt], *, new: bool = False) -> int:
        """Gives attempts to the executor, which starts each once; how many go on now.

        Those of a dead process may have been given to it already, `new` ones not.
        """
        if not attempts:
            return 0
        left, refused = list(attempts), dict[str, Exception]()
        # A signal among them would leave attempts that nobody knows.
        with stop_on_signal() as stop:
            handles = self._give_all(left, refused, stop)
            self.ledger.queue.note_handles(handles)
        for attempt in attempts:
            if (why := refused.get(attempt.key)) is not None:
                place = _folder(attempt.step).path
                self._note(attempt, result_of(why, _named(attempt.step), place), None)
            elif self.executor.name == INLINE and attempt.key in handles:
                self._settle(attempt)
        if stop.raised:
            for attempt in left if new else ():
                self._note(attempt, StepResult(outcome=Outcome.INTERRUPTED), None)
            raise Interrupted("stopped as steps were started")
        return 0 if self.executor.name == INLINE else len(attempts) - len(refused)

    def _give_all(
        self, left: list[OpenAttempt], refused: dict[str, Exception], stop: StopFlag
    ) -> dict[str, str]:
        """What the executor calls attempts, by key; takes from `left` what it was asked to start.

        It stops at a signal, and where the executor is away.
        """
        specs = self.ledger.queue.specs([attempt.step for attempt in left])
        handles: dict[str, str] = {}
        while left and not stop.raised:
            attempt = left.pop(0)
            try:
                handles[attempt.key] = self._give(attempt, specs[attempt.step.id])
                self._note_answer()
            except ExecutorAwayError as error:
                # No fault of the steps: they stay open, and the next tick asks again.
                self._tell_away(error)
                break
            except (Interrupted, LedgerAwayError):
                raise
            except (LoraCIError, OSError) as error:
                refused[attempt.key] = error
        return handles

    def _give(self, attempt: OpenAttempt, spec: StepSpec | InfrastructureError) -> str:
        """Lays the step's folder out and starts the attempt; what the executor calls it."""
        if isinstance(spec, InfrastructureError):
            raise spec
        self._seen.setdefault(attempt.key, _Seen()).limit_s = spec.resources.timeout_s
        folder = _folder(attempt.step)
        folder.write_spec(spec)
        done = folder.read_result(attempt.step.fingerprint)
        if done and done.outcome in AGAIN:
            folder.drop_result()
        return self.executor.submit(
            Attempt(key=attempt.key, folder=folder, spec=spec, place=_place(attempt))
        )


def _folder(step: StepRow) -> StepFolder:
    return StepFolder(step.folder)


def _begun(
    waiting: Waiting, key: str, executor: str, place: Mapping[str, Any], started_at: str
) -> OpenAttempt:
    """The attempt that a step has just begun, as the ledger would tell it."""
    step = waiting.step
    return OpenAttempt(
        key=key,
        step=replace(step, state=StepState.RUNNING, attempts=step.attempts + 1),
        repo=waiting.repo,
        priority=waiting.priority,
        executor=executor,
        handle=None,
        place=place,
        gpus=waiting.gpus,
        vram_gib=waiting.vram_gib,
        started_at=started_at,
        stopping=None,
        owner=waiting.owner,
        beat=waiting.beat,
    )


def _place(attempt: OpenAttempt) -> Place:
    found = attempt.place
    return Place(node=str(found.get("node", "")), gpus=tuple(found.get("gpus", ())))


def _named(step: StepRow) -> str:
    return f"{step.stage} of {step.lora}"


def _vanished(step: StepRow, folder: StepFolder) -> StepResult:
    words = folder.last_words()
    return _error(
        "step.vanished",
        f"{_named(step)} ended without a result: "
        + (f"its last words were: {words}" if words else "it was killed, or ran out of memory"),
        f"next: tail {folder.log}; the same command goes on where it stopped",
    )


def _lost(step: StepRow) -> StepResult:
    return _error(
        "step.artifacts-lost",
        f"{_named(step)} passed, but not all that it made is in the store",
        "next: lora-ci doctor; does the machine that runs steps write to the same store?",
    )


def _misfit(step: StepRow, why: str) -> StepResult:
    return _error(
        "step.no-place",
        f"{_named(step)} {why}",
        "next: lora-ci runners list; lower `resources.gpus` or `resources.vram_gib`",
    )


def _too_late(step: StepRow, why: str) -> StepResult:
    return _error(
        "step.timeout",
        f"{_named(step)} {why}",
        "next: a longer `resources.timeout_hours`; it goes on from its last checkpoint",
    )


def _error(rule: str, message: str, hint: str) -> StepResult:
    finding = Finding(rule=rule, severity=Severity.ERROR, message=message, hint=hint)
    return StepResult(outcome=Outcome.ERROR, findings=(finding,))
