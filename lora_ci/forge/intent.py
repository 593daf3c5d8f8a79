"""A webhook delivery → what is to be done about it. Pure and total; a delivery is foreign text.

Source: https://docs.github.com/en/webhooks/webhook-events-and-payloads
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

import msgspec

from lora_ci.core.errors import UsageError
from lora_ci.core.event import EventKind
from lora_ci.forge.commands import Command, Verb, parse_command
from lora_ci.forge.payload import COMMIT, Announced, parse_payload
from lora_ci.plan.tags import parse_tag

RUN_ACTIONS = ("opened", "synchronize", "reopened", "ready_for_review")
CHECK = "lora-ci"
# What GitHub allows as `owner/name`; it becomes a folder and part of addresses.
REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}")
# What the button of a check sends back.
BUTTONS = {"approve": Verb.APPROVE, "retrain": Verb.RETRAIN, "run": Verb.RUN}


@dataclass(frozen=True, slots=True)
class Start:
    """Something to plan and run."""

    event: Announced


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A person asks for something: by a comment (its id) or by a button of a check (None).

    `number` is None where the payload does not tell the pull request of `head`; `key` is the same
    for the same question; `asked_at` is when, as far as that is told.
    """

    command: Command
    repo: str
    person: str
    key: str
    number: int | None = None
    comment: int | None = None
    head: str | None = None
    default_branch: str | None = None
    asked_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Nothing more is wanted of a pull request, or of a whole repository (`number` is None)."""

    repo: str
    why: str
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """A repository has another name now."""

    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Ignored:
    """Nothing is to be done."""

    why: str


Intent = Start | Ask | Stop | Moved | Ignored


def interpret(name: str, data: bytes, file: str = "delivery") -> Intent:
    """What the event `name` with the payload `data` asks for."""
    intent = _interpret(name, data, file)
    if any(not REPO.fullmatch(repo) for repo in repositories(intent)):
        return Ignored("not the name of a repository")
    return intent


def repositories(intent: Intent) -> tuple[str, ...]:
    """The repositories that it is about; of one that moved, the old name and the new."""
    match intent:
        case Start(event):
            return (event.repo,)
        case Ask() | Stop():
            return (intent.repo,)
        case Moved(old, new):
            return old, new
        case Ignored():
            return ()


def _interpret(name: str, data: bytes, file: str) -> Intent:
    try:
        match name:
            case "push":
                return _push(parse_payload(data, name, file))
            case "pull_request":
                return _pull_request(data, file)
            case "issue_comment":
                return _comment(msgspec.json.decode(data, type=_CommentEvent))
            case "check_run":
                return _check_run(msgspec.json.decode(data, type=_CheckRunEvent))
            case "check_suite":
                return _check_suite(msgspec.json.decode(data, type=_CheckSuiteEvent))
            case "repository":
                return _repository(msgspec.json.decode(data, type=_RepositoryEvent))
            case _:
                return Ignored(f"nothing is done about `{name}`")
    except UsageError as error:
        return Ignored(str(error))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Ignored(f"not what GitHub sends as `{name}`: {error}")


def _push(said: Announced) -> Intent:
    if said.kind is EventKind.TAG:
        if parse_tag(said.tag or "") is None:
            return Ignored("the tag is none that releases")
        return Start(said)
    if said.ref != f"refs/heads/{said.default_branch}":
        return Ignored("pushes to other branches than the default are told by pull requests")
    return Start(said)


def _pull_request(data: bytes, file: str) -> Intent:
    action = msgspec.json.decode(data, type=_Action).action
    if action in RUN_ACTIONS:
        return Start(parse_payload(data, "pull_request", file))
    if action == "closed":
        said = parse_payload(data, "pull_request", file)
        return Stop(repo=said.repo, number=said.number, why="the pull request was closed")
    return Ignored(f"nothing is done about a pull request that is `{action}`")


def _comment(said: _CommentEvent) -> Intent:
    if said.action != "created":
        return Ignored("comments that are edited or deleted ask for nothing")
    if said.issue.pull_request is None:
        return Ignored("the comment is on an issue, not on a pull request")
    user = said.comment.user
    if user is None or user.type != "User" or said.comment.performed_via_github_app is not None:
        return Ignored("only people are heard")
    command = parse_command(said.comment.body or "")
    if command is None:
        return Ignored("the comment asks for nothing")
    return Ask(
        command=command,
        repo=said.repository.full_name,
        person=user.login,
        key=str(said.comment.id),
        number=said.issue.number,
        comment=said.comment.id,
        default_branch=said.repository.default_branch,
        asked_at=said.comment.created_at.isoformat() if said.comment.created_at else None,
    )


def _check_run(said: _CheckRunEvent) -> Intent:
    run, name = said.check_run, said.check_run.name
    if name != CHECK and not name.startswith(f"{CHECK} / "):
        return Ignored("the check is none of ours")
    if said.action == "rerequested":
        verb: Verb | None = Verb.RUN
    elif said.action == "requested_action" and said.requested_action:
        verb = BUTTONS.get(said.requested_action.identifier)
    else:
        return Ignored(f"nothing is done about a check that is `{said.action}`")
    if verb is None:
        return Ignored("no check of ours has such a button")
    # Through the parser, so that a check of another's making names nothing that people could not.
    what = run.head_sha if verb is Verb.APPROVE else name.removeprefix(CHECK).removeprefix(" / ")
    command = parse_command(f"/lora-ci {verb} {what}")
    if command is None or command.problem:
        return Ignored("the check is none of ours")
    return _button(command, said, run.head_sha, run.pull_requests, f"check-{run.id}-{verb}")


def _check_suite(said: _CheckSuiteEvent) -> Intent:
    suite = said.check_suite
    if said.action != "rerequested":
        return Ignored(f"nothing is done about checks that are `{said.action}`")
    key = f"checks-{suite.id}"
    return _button(Command(verb=Verb.RUN), said, suite.head_sha, suite.pull_requests, key)


def _button(
    command: Command,
    said: _CheckRunEvent | _CheckSuiteEvent,
    head: str,
    pulls: list[_Pull],
    key: str,
) -> Intent:
    if not COMMIT.fullmatch(head):
        return Ignored("the check names no commit")
    # Checks of forks name no pull request; those that are named need not be the head's any more.
    numbers = [pull.number for pull in pulls if pull.head.sha == head]
    return Ask(
        command=command,
        repo=said.repository.full_name,
        person=said.sender.login,
        key=key,
        number=numbers[0] if numbers else None,
        head=head,
        default_branch=said.repository.default_branch,
    )


def _repository(said: _RepositoryEvent) -> Intent:
    new = said.repository.full_name
    owner, _, name = new.partition("/")
    match said.action:
        case "deleted":
            return Stop(repo=new, why="the repository was deleted")
        case "renamed" if said.changes and said.changes.repository:
            return Moved(f"{owner}/{said.changes.repository.name.was}", new)
        case "transferred" if said.changes and said.changes.owner:
            was = said.changes.owner.was
            before = was.user or was.organization
            return Moved(f"{before.login}/{name}", new) if before else Ignored("nobody had it")
        case _:
            return Ignored(f"nothing is done about a repository that is `{said.action}`")


class _Action(msgspec.Struct):
    action: str


class _User(msgspec.Struct):
    login: str
    type: str = "User"


class _Repository(msgspec.Struct):
    full_name: str
    default_branch: str | None = None


class _Issue(msgspec.Struct):
    number: int
    pull_request: dict[str, object] | None = None


class _Comment(msgspec.Struct):
    id: int
    user: _User | None = None
    body: str | None = None
    created_at: datetime | None = None
    performed_via_github_app: dict[str, object] | None = None


class _CommentEvent(msgspec.Struct):
    action: str
    issue: _Issue
    comment: _Comment
    repository: _Repository


class _Head(msgspec.Struct):
    sha: str


class _Pull(msgspec.Struct):
    number: int
    head: _Head


class _CheckRun(msgspec.Struct):
    id: int
    name: str
    head_sha: str
    pull_requests: list[_Pull] = []


class _Pressed(msgspec.Struct):
    identifier: str


class _CheckRunEvent(msgspec.Struct):
    action: str
    check_run: _CheckRun
    repository: _Repository
    sender: _User
    requested_action: _Pressed | None = None


class _CheckSuite(msgspec.Struct):
    id: int
    head_sha: str
    pull_requests: list[_Pull] = []


class _CheckSuiteEvent(msgspec.Struct):
    action: str
    check_suite: _CheckSuite
    repository: _Repository
    sender: _User


class _Was(msgspec.Struct):
    was: str = msgspec.field(name="from")


class _Renamed(msgspec.Struct):
    name: _Was


class _Owner(msgspec.Struct):
    user: _User | None = None
    organization: _User | None = None


class _WasOwner(msgspec.Struct):
    was: _Owner = msgspec.field(name="from")


class _Changes(msgspec.Struct):
    repository: _Renamed | None = None
    owner: _WasOwner | None = None


class _RepositoryEvent(msgspec.Struct):
    action: str
    repository: _Repository
    changes: _Changes | None = None
