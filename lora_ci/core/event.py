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
    """One event; `head` and `base` are full commit ids, `number` is the pull request's."""

    kind: EventKind
    repo: str
    head: str
    base: str | None = None
    ref: str | None = None
    actor: str | None = None
    trust: Trust = Trust.TRUSTED
    number: int | None = None
    tag: str | None = None
