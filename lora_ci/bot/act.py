"""What is done about a delivery: nothing, an answer, a job, an end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from lora_ci.app.commands import Cancel, Run, carry_out
from lora_ci.bot.access import Access
from lora_ci.bot.names import move_clone
from lora_ci.core.clock import Clock
from lora_ci.core.errors import InputError
from lora_ci.core.event import EventKind
from lora_ci.forge.commands import Verb
from lora_ci.forge.intent import Ask, Ignored, Moved, Start, Stop, interpret, repositories
from lora_ci.forge.payload import Announced
from lora_ci.ledger.inbox import Approval, Delivery, Effect, Inbox, Move
from lora_ci.ledger.jobs import Halt, Jobs, JobState, NewJob

# What is noted, and the effects that are kept together with the note.
Answer = tuple[str, tuple[Effect, ...]]


@dataclass(frozen=True, slots=True)
class Acts:
    """What is known where a delivery is dealt with; `owners` (empty: all) are those served."""

    inbox: Inbox
    jobs: Jobs
    access: Access
    clock: Clock
    state: Path
    owners: frozenset[str]

    def about(self, taken: Delivery) -> Answer:
        """Whatever is said to people is said again if it has to be. Raises LoraCIError."""
        intent = interpret(taken.event, taken.payload)
        owners = [repo.partition("/")[0] for repo in repositories(intent)]
        if owners and self.owners and self.owners.isdisjoint(map(str.lower, owners)):
            return f"{owners[-1]} is not among those who are served", ()
        match intent:
            case Start(event):
                return self._start(event)
            case Ask():
                return self._answer(intent)
            case Stop():
                return self._stop(intent)
            case Moved(old, new):
                return self._move(old, new)
            case Ignored(why):
                return why, ()

    def _start(self, event: Announced) -> Answer:
        """A job for a push, or for the head of a pull request as long as it is the head.

        Deliveries come in any order: what has another head now is told by another one.
        """
        if event.head is None:
            return "no commit is named", ()
        if event.number is not None:
            try:
                pull = self.access.host(event.repo).pull_request(event.number)
            except InputError as error:
                return str(error), ()
            if not pull.is_open:
                return "the pull request is closed by now", ()
            if pull.head != event.head:
                return f"the head is {pull.head[:7]} by now", ()
        return "to be run", (_job(Run(event=event), following=True),)

    def _stop(self, stop: Stop) -> Answer:
        """An end of what runs, unless the pull request is open again: this came late then."""
        if stop.number is not None:
            try:
                pull = self.access.host(stop.repo).pull_request(stop.number)
            except InputError:
                pull = None  # gone for good
            if pull and pull.is_open:
                return "the pull request is open by now", ()
        return stop.why, (Halt(repo=stop.repo, number=stop.number, why=stop.why),)

    def _answer(self, ask: Ask) -> Answer:
        number = ask.number
        if number is None and ask.head:
            newest = self.jobs.newest(ask.repo, ask.head)
            number = newest.number if newest else None
            if newest and number is None:
                return self._push_again(ask, newest.wanted)
        if number is None:
            return "no pull request of ours has this commit", ()
        host = self.access.host(ask.repo)
        status = self._status(ask.repo, number) if ask.command.verb is Verb.STATUS else None
        match carry_out(ask, number, host, status):
            case None:
                return f"answered: {ask.command.verb}", ()
            case Cancel():
                why = f"cancelled by {ask.person}"
                return why, (Halt(repo=ask.repo, number=number, why=why),)
            case Run() as run:
                now = self.clock.now().isoformat(timespec="seconds")
                run = replace(run, asked_at=now if run.retrain else None)
                effects: list[Effect] = [_job(run, following=False)]
                if run.approved_by and run.event.head:
                    effects.insert(0, _approval(ask, number, run.event.head))
                return f"asked by {ask.person}: {ask.command.verb}", tuple(effects)

    def _push_again(self, ask: Ask, wanted: str) -> Answer:
        """What was pushed once is run again for those who may push."""
        if ask.command.verb is Verb.APPROVE:
            return "pushes need no approval", ()
        if not self.access.host(ask.repo).permission(ask.person).may_write:
            return f"{ask.person} may not ask for this", ()
        run = replace(
            msgspec.json.decode(wanted, type=Run),
            loras=ask.command.loras,
            retrain=ask.command.verb is Verb.RETRAIN,
            asked_at=self.clock.now().isoformat(timespec="seconds"),
        )
        return f"asked by {ask.person}: {ask.command.verb}", (_job(run, following=False),)

    def _status(self, repo: str, number: int) -> str:
        """What runs and what waits, for people."""
        lines = []
        for job in self.jobs.under_way(repo, number):
            state = "runs" if job.state is JobState.RUNNING else "waits for its turn"
            lines.append(f"- `{job.head[:7]}` {'is being stopped' if job.stopping else state}")
        waiting = self.inbox.waiting()
        others = f"{waiting.running} running, {waiting.jobs} waiting in all"
        return "\n".join([*(lines or ["Nothing runs for this pull request."]), "", others])

    def _move(self, old: str, new: str) -> Answer:
        move_clone(self.state, old, new)
        return f"{old} is {new} now", (Move(old, new),)


def _job(run: Run, *, following: bool) -> NewJob:
    """The job of a run. A release belongs to no pull request: that is merged, and at its end."""
    event = run.event
    return NewJob(
        repo=event.repo,
        number=None if event.kind is EventKind.TAG else event.number,
        head=event.head or "",
        wanted=msgspec.json.encode(run).decode(),
        following=following,
    )


def _approval(ask: Ask, number: int, sha: str) -> Approval:
    return Approval(repo=ask.repo, number=number, sha=sha, person=ask.person)
