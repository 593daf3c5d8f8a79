"""What a person asked for → what is to be done, and the answer: one way for the bot and for jobs.

Everything may be done again: a reaction is put once, a reply is replaced.
"""

from __future__ import annotations

from dataclasses import dataclass

from lora_ci.core.errors import InputError
from lora_ci.core.event import EventKind, Trust
from lora_ci.forge.commands import USAGE, WORD, Command, Verb
from lora_ci.forge.forge import Host, PullRequest
from lora_ci.forge.intent import Ask
from lora_ci.forge.payload import Announced
from lora_ci.report.markdown import code, prose

FREE = (Verb.HELP, Verb.STATUS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run that was asked for: of `loras` (empty: all); `retrain` forgets what they had until
    `asked_at` (ISO 8601; None: now).

    `approved_by` are those who let the commit of `event` run, and only that one; `key` is that of
    the reply to the comment that asked.
    """

    event: Announced
    loras: tuple[str, ...] = ()
    retrain: bool = False
    approved_by: tuple[str, ...] = ()
    asked_at: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """The runs of a pull request are to be ended."""

    number: int


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """Why nothing is done, for the person who asked."""


def carry_out(ask: Ask, number: int, host: Host, status: str | None = None) -> Run | Cancel | None:
    """Answers on the pull request; returns what is left to be done, if anything.

    `status` is what `status` answers, None where only the report tells. Raises LoraCIError where
    the host does not answer.
    """
    command = ask.command
    _react(ask, host, "eyes")
    try:
        pull = _pull_request(number, host)
        if command.verb not in FREE:
            _check_permission(ask, host)
        wanted, answer = _decide(command, ask, pull, status)
    except Refused as refused:
        _react(ask, host, "-1")
        host.reply(number, ask.key, f"{_addressed(ask)}: {refused}.")
        return None
    _react(ask, host, "confused" if command.problem else "rocket")
    # A button tells by its check what became of it.
    if ask.comment is not None:
        host.reply(number, ask.key, answer)
    return wanted


def _pull_request(number: int, host: Host) -> PullRequest:
    try:
        return host.pull_request(number)
    except InputError as error:
        raise Refused("this is no pull request any more") from error


def _check_permission(ask: Ask, host: Host) -> None:
    """Raises Refused for those who may not push."""
    permission = host.permission(ask.person)
    if not permission.may_write:
        raise Refused(
            f"`{ask.command.verb}` is for those who may push here; your permission is "
            f"`{permission}`"
        )


def _decide(
    command: Command, ask: Ask, pull: PullRequest, status: str | None
) -> tuple[Run | Cancel | None, str]:
    """What is to be done and what is answered. Raises Refused."""
    short = pull.head[:7]
    match command.verb:
        case Verb.HELP:
            return None, help_text(command.problem)
        case Verb.STATUS:
            return None, status or "The comment of lora-ci on this pull request tells how it goes."
        case Verb.CANCEL:
            return Cancel(pull.number), "What runs for this pull request is stopped."
        case Verb.DEPLOY:
            event = _release(command, ask, pull)
            merged = (event.head or "")[:7]
            told = f"The release of `{code(command.tag or '')}` from `{merged}` starts."
            return Run(event=event, loras=command.loras), told
        case Verb.APPROVE:
            _check_approval(command, ask, pull)
            run = Run(event=_event(ask, pull), approved_by=(ask.person,))
            return run, f"`{short}` may run. A new push needs a new approval."
        case Verb.RUN | Verb.RETRAIN:
            if not pull.is_open:
                raise Refused("the pull request is closed")
            retrain = command.verb is Verb.RETRAIN
            names = ", ".join(f"`{code(name)}`" for name in command.loras) or "Everything"
            told = f"{names} of `{short}` {'is trained anew' if retrain else 'runs'}."
            if pull.fork:
                told += (
                    f" It comes from a fork: nothing trains without `{WORD} approve {pull.head}`."
                )
            run = Run(
                event=_event(ask, pull),
                loras=command.loras,
                retrain=retrain,
                asked_at=ask.asked_at,
                key=ask.key if ask.comment is not None else None,
            )
            return run, told


def _check_approval(command: Command, ask: Ask, pull: PullRequest) -> None:
    """Raises Refused unless the head as it is now is what was looked at, by somebody else."""
    if not pull.is_open:
        raise Refused("the pull request is closed")
    if pull.head != command.sha:
        raise Refused(
            f"the head is not `{(command.sha or '')[:12]}` any more: look at what is new, then "
            f"`{WORD} approve {pull.head}`"
        )
    if ask.person == pull.author:
        raise Refused("nobody may approve what is their own")


def _release(command: Command, ask: Ask, pull: PullRequest) -> Announced:
    """The release of what the pull request became. Raises Refused."""
    if pull.merge_commit is None:
        raise Refused(f"`{Verb.DEPLOY}` is for pull requests that are merged")
    return Announced(
        kind=EventKind.TAG,
        repo=ask.repo,
        head=pull.merge_commit,
        ref=f"refs/tags/{command.tag}",
        tag=command.tag,
        number=pull.number,
        default_branch=ask.default_branch,
        actor=ask.person,
    )


def _event(ask: Ask, pull: PullRequest) -> Announced:
    """The pull request as it is now, on behalf of its author: who asks changes no rights."""
    return Announced(
        kind=EventKind.PULL_REQUEST,
        repo=ask.repo,
        head=pull.head,
        base=pull.base,
        ref=pull.ref,
        default_branch=ask.default_branch,
        actor=pull.author,
        trust=Trust.UNTRUSTED if pull.fork else Trust.TRUSTED,
        number=pull.number,
        message=pull.title,
    )


def help_text(problem: str | None = None) -> str:
    """The commands, under what was wrong with the one that was typed."""
    lines = [f"{prose(problem[0].upper() + problem[1:])}.\n"] if problem else []
    lines += ["Comments that begin with these are heard:\n"]
    lines += [f"- `{WORD} {usage}`: {MEANS[verb]}" for verb, usage in USAGE.items()]
    return "\n".join(lines)


MEANS = {
    Verb.RUN: "do what the plan says, again where a machine failed",
    Verb.RETRAIN: "train anew, though nothing changed",
    Verb.CANCEL: "stop; a later run goes on from the checkpoint",
    Verb.APPROVE: "let a fork's commit use the GPU",
    Verb.DEPLOY: "release what was merged",
    Verb.STATUS: "tell what runs and what waits",
    Verb.HELP: "this",
}


def _react(ask: Ask, host: Host, reaction: str) -> None:
    if ask.comment is not None:
        host.react(ask.comment, reaction)


def _addressed(ask: Ask) -> str:
    return f"`{code(ask.person)}`"
