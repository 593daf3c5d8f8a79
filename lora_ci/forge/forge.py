"""What lora-ci asks of a git host: where results are shown, and who may ask for what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from lora_ci.core.finding import Finding
from lora_ci.core.step import Outcome
from lora_ci.report.annotations import Annotation


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """A button of a check; what a press sends back is `id`. At most 20 and 40 characters."""

    id: str
    label: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A check of a commit: `title` is a line of text, `summary` markdown.

    `outcome` is None while that which is checked goes on. At most three buttons.
    """

    head: str
    name: str
    outcome: Outcome | None
    title: str
    summary: str
    annotations: tuple[Annotation, ...] = ()
    buttons: tuple[Button, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseDraft:
    """What is shown as a release: markdown `notes`, files by name; `commit` is what `tag` names."""

    tag: str
    commit: str
    title: str
    notes: str
    files: Mapping[str, Path] = field(default_factory=dict)
    prerelease: bool = False


class Forge(Protocol):
    """Every call may be made again: it replaces what it made before.

    Calls raise LoraCIError or OSError where the host does not take what is given. What could only
    be shown in a lesser way is told by `notes`.
    """

    def publish_report(self, run_id: str, page: str, twin: str) -> str | None:
        """Puts the page of a run where people can open it; its address, None where it has none.

        Beside it lie the same facts as JSON, `twin`.
        """
        ...

    def publish_picture(self, name: str, png: bytes) -> str:
        """Puts a picture where comments can show it; returns its address, as comments need it."""
        ...

    def upsert_comment(self, number: int, body: str) -> None:
        """The one comment of ours on a pull request."""
        ...

    def publish_check(self, check: Check) -> None:
        """A check of a commit; one of the same name is replaced."""
        ...

    def publish_release(self, release: ReleaseDraft) -> str:
        """A release that is seen only once it has all its files; returns its address."""
        ...

    def mark_yanked(self, tag: str, reason: str) -> None:
        """Says on top of a release that it must not be used any more, and why.

        Raises InputError if there is no such release.
        """
        ...

    def notes(self) -> tuple[Finding, ...]:
        """What could not be shown as it should be, and what to do about it."""
        ...


@runtime_checkable
class Suggests(Protocol):
    """A forge that can show a change at the lines of a pull request that it is of."""

    def suggest(self, number: int, head: str, key: str, change: LineComment | None) -> bool:
        """Shows the change at its lines of `head`, one for each `key`; None takes it back.

        False where it stands nowhere now: its lines are not in the pull request's diff.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LineComment:
    """Words at lines `first_line` to `last_line` (from 1) of a file.

    A `suggestion` block in the markdown `body` says what they are to become.
    """

    path: str
    first_line: int
    last_line: int
    body: str


class Permission(StrEnum):
    """What a person may do with a repository, least first."""

    NONE = "none"
    READ = "read"
    TRIAGE = "triage"
    WRITE = "write"
    MAINTAIN = "maintain"
    ADMIN = "admin"

    @property
    def may_write(self) -> bool:
        """True for those who may push."""
        return self in (Permission.WRITE, Permission.MAINTAIN, Permission.ADMIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequest:
    """A pull request as it is now; commits are full ids. `fork`: the head lies elsewhere.

    `merge_commit` is what it became on the base branch, None unless it is merged.
    """

    number: int
    title: str
    author: str
    head: str
    ref: str
    base: str
    base_ref: str
    fork: bool
    is_open: bool
    merge_commit: str | None = None


class Host(Protocol):
    """A git host as the place where people ask for things. Calls raise LoraCIError."""

    def pull_request(self, number: int) -> PullRequest:
        """The pull request. Raises InputError if there is none."""
        ...

    def permission(self, person: str) -> Permission:
        """What a person may do here."""
        ...

    def react(self, comment: int, reaction: str) -> None:
        """Puts a reaction (`eyes`, `+1`, `-1`, `confused`, `rocket`) on a comment, once."""
        ...

    def reply(self, number: int, key: str, body: str) -> None:
        """Comments on a pull request, once for each key: a second call replaces the text."""
        ...

    def passed_checks(self, head: str) -> tuple[str, ...]:
        """Names of the checks and statuses of a commit that succeeded, those of others only."""
        ...
