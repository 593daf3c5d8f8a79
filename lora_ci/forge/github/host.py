"""GitHub as the place where people ask for things."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from lora_ci.core.errors import InputError
from lora_ci.forge.forge import Permission, PullRequest
from lora_ci.forge.github.answer import Refused
from lora_ci.forge.github.checks import EXTERNAL_ID, fetch_runs
from lora_ci.forge.github.client import GitHubClient
from lora_ci.forge.github.comments import Comments
from lora_ci.forge.github.people import Me, Person
from lora_ci.forge.github.statuses import Status

OURS = "lora-ci"
# An underscore: accounts that a company manages.
LOGIN = re.compile(r"[A-Za-z0-9_-]{1,100}(\[bot\])?")


@dataclass(frozen=True, slots=True)
class _Repository:
    full_name: str


@dataclass(frozen=True, slots=True)
class _Branch:
    ref: str
    sha: str
    repo: _Repository | None


@dataclass(frozen=True, slots=True)
class _Pull:
    number: int
    title: str
    state: str
    user: Person | None
    head: _Branch
    base: _Branch
    merged: bool = False
    merge_commit_sha: str | None = None


@dataclass(frozen=True, slots=True)
class _Granted:
    permission: str
    role_name: str = ""


@dataclass(frozen=True, slots=True)
class _Made:
    id: int


@dataclass(frozen=True, slots=True)
class GitHubHost:
    """The people of a repository; `repo` is its path, `me` tells who we are."""

    client: GitHubClient
    repo: str
    me: Callable[[], Me]

    def pull_request(self, number: int) -> PullRequest:
        try:
            pull = self.client.get(f"{self.repo}/pulls/{number}", _Pull)
        except Refused as refused:
            if refused.status == 404:
                raise InputError(f"there is no pull request {number}") from refused
            raise
        base = pull.base.repo.full_name if pull.base.repo else None
        # A fork that was deleted has no repository any more.
        own = pull.head.repo is not None and pull.head.repo.full_name == base
        return PullRequest(
            number=pull.number,
            title=pull.title,
            author=pull.user.login if pull.user else "ghost",
            head=pull.head.sha,
            ref=pull.head.ref,
            base=pull.base.sha,
            base_ref=pull.base.ref,
            fork=not own,
            is_open=pull.state == "open",
            # Until then it is that of a trial.
            merge_commit=pull.merge_commit_sha if pull.merged else None,
        )

    def permission(self, person: str) -> Permission:
        if not LOGIN.fullmatch(person):
            return Permission.NONE
        path = f"{self.repo}/collaborators/{quote(person)}/permission"
        try:
            granted = self.client.get(path, _Granted)
        except Refused as refused:
            if refused.status == 404:
                return Permission.NONE
            raise
        # Roles have any name; each of them has one of the old permissions.
        known = {level.value: level for level in Permission}
        return known.get(granted.role_name) or known.get(granted.permission) or Permission.NONE

    def react(self, comment: int, reaction: str) -> None:
        path = f"{self.repo}/issues/comments/{comment}/reactions"
        # GitHub takes each reaction of an account once.
        self.client.create(path, {"content": reaction}, _Made, look=None)

    def reply(self, number: int, key: str, body: str) -> None:
        Comments(self.client, self.repo, self.me).reply(number, key, body)

    def passed_checks(self, head: str) -> tuple[str, ...]:
        passed: dict[str, bool] = {}
        for run in fetch_runs(self.client, self.repo, head):
            if run.external_id != EXTERNAL_ID and not _is_ours(run.name):
                # Of several Apps with one name, none may have failed.
                passed[run.name] = passed.get(run.name, True) and run.conclusion == "success"
        told: set[str] = set()
        for status in self._statuses(head):
            if status.context not in told and not _is_ours(status.context):
                passed.setdefault(status.context, True)
                passed[status.context] &= status.state == "success"
            told.add(status.context)
        return tuple(sorted(name for name, good in passed.items() if good))

    def _statuses(self, head: str) -> Iterator[Status]:
        """The newest first. A token that may only see checks sees none: not all need them."""
        path = f"{self.repo}/commits/{quote(head)}/statuses"
        try:
            for page in self.client.pages(path, list[Status]):
                yield from page
        except Refused as refused:
            if not refused.is_forbidden:
                raise


def _is_ours(name: str) -> bool:
    return name == OURS or name.startswith(f"{OURS} / ")
