"""What happened at the git host, on the clock or at a prompt."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class EventKind(StrEnum):
    """The kinds of events that start a run."""

    PUSH = "push"
    PULL_REQUEST = "pull_request"
    TAG = "tag"
    COMMENT = "comment"
    MANUAL = "manual"
    SCHEDULE = "schedule"


class Trust(StrEnum):
    """Whose push it is: `untrusted` gets validation on the CPU and nothing else."""

    TRUSTED = "trusted"
    UNTRUSTED = "untrusted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event; `head` and `base` are full commit ids, `number` is the pull request's.

    `message` is what the push says of itself: the head's commit message, a pull request's title.
    `approvals` are those who said that it may run; `passed_checks` are other checks of the head.
    """

    kind: EventKind
    repo: str
    head: str
    base: str | None = None
    range_why: str = ""
    ref: str | None = None
    actor: str | None = None
    trust: Trust = Trust.TRUSTED
    number: int | None = None
    tag: str | None = None
    message: str = ""
    approvals: tuple[str, ...] = ()
    passed_checks: tuple[str, ...] = ()
