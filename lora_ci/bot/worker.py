"""Deliveries → jobs → processes. One thread turns it; killed anywhere, the next goes on."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path

import msgspec

from lora_ci.app.commands import Run
from lora_ci.bot.access import Access
from lora_ci.bot.act import Acts
from lora_ci.bot.names import free_names, is_lent
from lora_ci.bot.runner import End, Ending, Runner
from lora_ci.core.clock import Clock
from lora_ci.core.errors import InputError, LoraCIError, UsageError
from lora_ci.core.event import Trust
from lora_ci.core.text import clean
from lora_ci.ledger.inbox import Delivery, Inbox
from lora_ci.ledger.jobs import Job, Jobs

LOG = logging.getLogger("lora_ci.bot")

# How long a process has to write its checkpoint and say its last word.
GRACE_S = 60.0
# What brings a process down does so again, a git host that is down comes back within hours.
MAX_DEATHS = 3
MAX_TRIES = 12
PUT_OFF_S = (30.0, 300.0, 600.0)
MOST = {Ending.LOST: MAX_DEATHS, Ending.BLOCKED: MAX_TRIES, Ending.UNSHOWN: MAX_TRIES}
LAST_PAUSE_S = 0.05
# Whoever started the server may be about to kill it.
LAST_WORD_S = 10.0
# Deliveries in a row; what runs is looked after in between.
AT_ONCE = 20


@dataclass(slots=True, kw_only=True)
class Worker:
    """`parallel` processes run at a time; `owners` (lower case; empty: all) are served."""

    inbox: Inbox
    jobs: Jobs
    access: Access
    runner: Runner
    clock: Clock
    state: Path
    parallel: int
    owners: frozenset[str] = frozenset()
    _deadlines: dict[int, float] = field(default_factory=dict)

    def turn(self) -> bool:
        """Does what can be done now; False if that was nothing."""
        running = self.jobs.running()
        ended = sum(map(self._look_at, running))
        if ended:
            free_names(self.state, self.jobs.running())
        begun = self._begin() if len(running) - ended < self.parallel else False
        dealt = sum(1 for _ in takewhile(bool, (self._deal() for _ in range(AT_ONCE))))
        return dealt > 0 or ended > 0 or begun

    def close(self) -> None:
        """Ends what runs, gently: the next server goes on from the checkpoints.

        What cannot be ended is left to the next server as well.
        """
        until = self.clock.monotonic() + GRACE_S
        for job in self.jobs.running():
            self.runner.stop(job, hard=False)
        while running := self.jobs.running():
            late = self.clock.monotonic() > until
            if self.clock.monotonic() > until + LAST_WORD_S:
                LOG.warning("close.left jobs=%s", ",".join(str(job.id) for job in running))
                return
            for job in running:
                if late:
                    self.runner.stop(job, hard=True)
                if end := self.runner.end(job):
                    self._ended(job, end, counted=False)
            self.clock.sleep(LAST_PAUSE_S)

    def _deal(self) -> bool:
        """Deals with the oldest delivery."""
        taken = self.inbox.take()
        if taken is None:
            return False
        if taken.unheard >= MAX_DEATHS:
            self._put_off(taken, f"the bot died of it {taken.unheard} times", 0)
            return True
        try:
            note, effects = self._acts().about(taken)
        except (UsageError, InputError) as error:
            note, effects = str(error), ()
        except LoraCIError as error:
            self._put_off(taken, str(error), MAX_TRIES)
            return True
        except Exception as error:  # the border: one delivery must not end the bot
            LOG.exception("delivery.broken id=%s", taken.id)
            self._put_off(taken, f"{type(error).__name__}: {error}", MAX_DEATHS)
            return True
        self.inbox.settle(taken, note, *effects)
        _log("delivery.done", id=taken.id, event=taken.event, note=note)
        return True

    def _acts(self) -> Acts:
        return Acts(self.inbox, self.jobs, self.access, self.clock, self.state, self.owners)

    def _put_off(self, taken: Delivery, why: str, most: int) -> None:
        delay_s = None if taken.attempts >= most else _delay_s(taken.attempts)
        state = self.inbox.put_off(taken, why, delay_s=delay_s)
        _log(f"delivery.{state}", id=taken.id, event=taken.event, attempt=taken.attempts, why=why)

    def _begin(self) -> bool:
        """Starts the oldest job that may start."""
        job = self.jobs.next()
        if job is None:
            return False
        if is_lent(self.state, job.repo):
            free_names(self.state, self.jobs.running())
        lent = is_lent(self.state, job.repo)
        if not self.jobs.mark_running(job):
            return True
        job = replace(job, attempts=job.attempts + 1)
        if lent:
            # Two repositories never share a clone.
            why = "the repository that had this name before still has a run there"
            self.jobs.again(job, why, delay_s=PUT_OFF_S[0], counted=False)
            return True
        try:
            wanted = self._with_approval(msgspec.json.decode(job.wanted, type=Run), job)
            handle = self.runner.start(job, wanted)
        except msgspec.DecodeError as error:
            self._ended(job, End(ending=Ending.DONE, note=f"of another version: {error}"))
            return True
        except (LoraCIError, OSError) as error:
            self._ended(job, End(ending=Ending.BLOCKED, note=str(error)))
            return True
        self.jobs.note_handle(job, handle)
        _log("job.started", id=job.id, repo=job.repo, number=job.number, head=job.head)
        return True

    def _with_approval(self, wanted: Run, job: Job) -> Run:
        """What is wanted with all approvals of its very commit: the policy says which count."""
        needs_one = wanted.event.trust is Trust.UNTRUSTED or wanted.approved_by
        if not needs_one or job.number is None:
            return wanted
        people = self.inbox.approvers(job.repo, job.number, job.head)
        return replace(wanted, approved_by=tuple(dict.fromkeys((*people, *wanted.approved_by))))

    def _look_at(self, job: Job) -> bool:
        """True if the job's process ended."""
        end = self.runner.end(job)
        if end:
            self._ended(job, end)
            return True
        if job.stopping:
            now = self.clock.monotonic()
            first = job.id not in self._deadlines
            if first or now > self._deadlines[job.id]:
                self._deadlines[job.id] = now + GRACE_S
                self.runner.stop(job, hard=not first)
        return False

    def _ended(self, job: Job, end: End, *, counted: bool = True) -> None:
        """Ends the job, or gives it another attempt."""
        self._deadlines.pop(job.id, None)
        ending, note = end.ending, end.note
        _log(f"job.{ending}", id=job.id, repo=job.repo, number=job.number, note=note)
        if job.stopping:
            self.jobs.finish(job, f"{job.stopping}; {note}")
        elif ending is Ending.UNSHOWN and end.run_id and not job.run_id:
            self.jobs.show_again(job, note, end.run_id, delay_s=_delay_s(1))
        elif ending is Ending.STOPPED:
            self.jobs.again(job, note, delay_s=0.0, counted=counted)
        elif ending is Ending.DONE or job.attempts >= MOST[ending]:
            self.jobs.finish(job, note)
            if ending is not Ending.DONE and not job.run_id:
                self._tell_lost(job, note)
        else:
            self.jobs.again(job, note, delay_s=_delay_s(job.attempts))

    def _tell_lost(self, job: Job, note: str) -> None:
        """Says on the pull request that there will be no result: the process could not."""
        if job.number is None:
            return
        told = (
            f"The run of `{job.head[:7]}` ended {job.attempts} times without a result. The log of "
            f"job {job.id} on the bot's machine tells why; then `/lora-ci run`."
        )
        try:
            self.access.host(job.repo).reply(job.number, f"job-{job.id}", told)
        except LoraCIError as error:
            _log("job.untold", id=job.id, why=f"{note}; {error}")


def _delay_s(attempts: int) -> float:
    """How long to wait after so many attempts."""
    return PUT_OFF_S[min(attempts, len(PUT_OFF_S)) - 1]


def _log(what: str, **facts: object) -> None:
    known = [clean(fact) if isinstance(fact, str) else fact for fact in facts.values()]
    LOG.info(" ".join((what, *(f"{name}=%s" for name in facts))), *known)
