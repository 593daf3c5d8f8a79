"""What the fake remembers: plain values that tests may read and change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

RANKS = ("none", "read", "triage", "write", "maintain", "admin")


@dataclass(slots=True)
class Person:
    login: str
    id: int
    kind: str = "User"


@dataclass(slots=True)
class Token:
    """`kind`: `actions` and `installation` act as an app, `classic` and `fine` as a person."""

    value: str = field(repr=False)
    kind: str
    login: str
    permissions: dict[str, str]
    repos: tuple[str, ...] | None = None
    app: str | None = None
    expires: float | None = None
    scopes: tuple[str, ...] = ()
    limit: int = 5000
    used: int = 0
    limited: bool = False

    @property
    def is_app(self) -> bool:
        return self.kind in ("actions", "installation")

    def may(self, name: str, level: str) -> bool:
        have = self.permissions.get(name, "none")
        return have == "write" or (level == "read" and have == "read")


@dataclass(slots=True)
class Reaction:
    id: int
    content: str
    login: str
    created: float


@dataclass(slots=True)
class Comment:
    id: int
    number: int
    body: str
    login: str
    created: float
    updated: float
    app: str | None = None
    reactions: list[Reaction] = field(default_factory=list)


@dataclass(slots=True)
class ReviewComment:
    """A comment at lines of a file in the head `commit` of a pull request."""

    id: int
    number: int
    body: str
    login: str
    created: float
    updated: float
    path: str
    line: int
    start_line: int | None
    commit: str


@dataclass(slots=True)
class Issue:
    """An issue or, where `pull` is set, a pull request's conversation."""

    number: int
    id: int
    title: str
    body: str
    login: str
    created: float
    state: str = "open"
    closed: float | None = None
    pull: Pull | None = None


@dataclass(slots=True)
class Pull:
    """`head_repo` is a full name, None where the fork is gone. Commits are full ids."""

    number: int
    id: int
    head: str
    head_ref: str
    head_repo: str | None
    base: str
    base_ref: str
    created: float
    draft: bool = False
    merged: float | None = None
    merged_by: str | None = None
    merge_commit: str | None = None
    association: str = "CONTRIBUTOR"


@dataclass(slots=True)
class CheckSuite:
    id: int
    head: str
    app: str
    created: float


@dataclass(slots=True)
class CheckRun:
    id: int
    suite: int
    app: str
    head: str
    name: str
    started: float
    status: str = "queued"
    conclusion: str | None = None
    completed: float | None = None
    title: str | None = None
    summary: str | None = None
    text: str | None = None
    details_url: str | None = None
    external_id: str = ""
    annotations: list[dict[str, Any]] = field(default_factory=list)
    actions: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class Status:
    id: int
    sha: str
    state: str
    context: str
    description: str | None
    target_url: str | None
    login: str
    created: float


@dataclass(slots=True)
class Asset:
    id: int
    name: str
    label: str | None
    content_type: str
    data: bytes = field(repr=False)
    login: str
    created: float
    downloads: int = 0
    state: str = "uploaded"


@dataclass(slots=True)
class Release:
    id: int
    tag: str
    target: str
    name: str | None
    body: str | None
    draft: bool
    prerelease: bool
    login: str
    created: float
    published: float | None = None
    immutable: bool = False
    assets: list[Asset] = field(default_factory=list)


@dataclass(slots=True)
class Job:
    id: int
    name: str
    status: str = "completed"
    conclusion: str | None = "success"
    labels: tuple[str, ...] = ("ubuntu-latest",)
    runner: str | None = None


@dataclass(slots=True)
class WorkflowRun:
    id: int
    name: str
    event: str
    head: str
    branch: str
    login: str
    created: float
    status: str = "in_progress"
    conclusion: str | None = None
    attempt: int = 1
    path: str = ".github/workflows/loras.yml"
    jobs: list[Job] = field(default_factory=list)
    title: str = ""
    listed: bool = True


class Machine(Protocol):
    """What does the runs of a workflow: sets their status, and keeps their artifacts."""

    def begin(self, run: WorkflowRun, inputs: Mapping[str, str]) -> None: ...

    def cancel(self, run: WorkflowRun, *, hard: bool) -> None: ...


@dataclass(slots=True)
class Artifact:
    id: int
    name: str
    run: int
    data: bytes = field(repr=False)
    created: float
    head: str = ""
    expired: bool = False


@dataclass(slots=True)
class Runner:
    id: int
    name: str
    labels: tuple[str, ...]
    group: int
    status: str = "offline"
    busy: bool = False
    jit_config: str = ""


@dataclass(slots=True)
class Delivery:
    id: int
    guid: str
    event: str
    action: str | None
    delivered: float
    duration_s: float
    status_code: int
    status: str
    redelivery: bool
    request_headers: dict[str, str]
    payload: dict[str, Any]
    response_headers: dict[str, str]
    response: str
    repository: int | None = None
    installation: int | None = None


@dataclass(slots=True)
class Hook:
    id: int
    url: str
    secret: str = field(repr=False)
    events: tuple[str, ...]
    active: bool = True
    deliveries: list[Delivery] = field(default_factory=list)


@dataclass(slots=True)
class Installation:
    id: int
    account: str
    permissions: dict[str, str]
    repos: list[str] = field(default_factory=list)
    suspended: bool = False


@dataclass(slots=True)
class App:
    id: int
    slug: str
    owner: str
    public_key: bytes = field(repr=False)
    permissions: dict[str, str]
    events: tuple[str, ...] = ()
    hook: Hook | None = None
    installations: list[Installation] = field(default_factory=list)


@dataclass(slots=True)
class Repo:
    """`git_dir` is made when first asked for, see `git_store.py`."""

    owner: str
    name: str
    id: int
    created: float
    private: bool = False
    default_branch: str = "main"
    git_dir: Path | None = None
    fork_of: str | None = None
    immutable_releases: bool = False
    archived: bool = False
    issues: dict[int, Issue] = field(default_factory=dict)
    comments: dict[int, Comment] = field(default_factory=dict)
    review_comments: dict[int, ReviewComment] = field(default_factory=dict)
    suites: dict[int, CheckSuite] = field(default_factory=dict)
    checks: dict[int, CheckRun] = field(default_factory=dict)
    statuses: list[Status] = field(default_factory=list)
    releases: dict[int, Release] = field(default_factory=dict)
    runs: dict[int, WorkflowRun] = field(default_factory=dict)
    artifacts: dict[int, Artifact] = field(default_factory=dict)
    runners: dict[int, Runner] = field(default_factory=dict)
    workflows: dict[str, Machine] = field(default_factory=dict)
    hooks: dict[int, Hook] = field(default_factory=dict)
    permissions: dict[str, str] = field(default_factory=dict)

    @property
    def full_name(self) -> str:
        return f"{self.owner}/{self.name}"

    @property
    def pulls(self) -> dict[int, Pull]:
        return {number: issue.pull for number, issue in self.issues.items() if issue.pull}

    def comments_on(self, number: int) -> list[Comment]:
        """Comments of an issue or pull request, oldest first."""
        return [c for c in self.comments.values() if c.number == number]

    def permission(self, login: str) -> str:
        """What a person may do here; everybody may read what is public."""
        granted = self.permissions.get(login.lower())
        return granted or ("none" if self.private else "read")

    def may(self, login: str, level: str) -> bool:
        return RANKS.index(self.permission(login)) >= RANKS.index(level)

    def assets(self) -> Iterator[tuple[Release, Asset]]:
        """All files of all releases."""
        for release in self.releases.values():
            for asset in release.assets:
                yield release, asset


@dataclass(frozen=True, slots=True)
class Logged:
    """A request as it was answered; `status` 0 where the connection was broken."""

    method: str
    path: str
    status: int
