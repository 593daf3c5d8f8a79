"""A fake GitHub with a repository, and clients that never really wait."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lora_ci.core.step import Outcome
from lora_ci.forge.forge import Check, ReleaseDraft
from lora_ci.forge.github.client import GitHubClient
from lora_ci.forge.github.forge import GitHubForge
from lora_ci.forge.github.host import GitHubHost
from lora_ci.forge.github.open import open_client, open_github
from lora_ci.forge.job import Job
from tests.fake_github import FakeGitHub

REPO = "acme/loras"


@dataclass
class Clock:
    """Sleeping takes no time; `waits` remembers how long it would have been."""

    ahead: timedelta = timedelta()
    waits: list[float] = field(default_factory=list)
    at: float = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def monotonic(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.at += seconds


@dataclass
class World:
    """One repository on a fake GitHub, and us with a workflow's token."""

    hub: FakeGitHub
    root: Path
    clock: Clock = field(default_factory=Clock)
    job: Job = field(default_factory=Job)

    def client(self, token: str | None = None, **options: object) -> GitHubClient:
        options = {"api_url": self.hub.api_url} | options
        token = token or self.hub.token()
        return open_client(token, clock=self.clock, rng=random.Random(1), **options)

    def open(
        self, client: GitHubClient | None = None, **options: object
    ) -> tuple[GitHubForge, GitHubHost]:
        return open_github(
            client or self.client(),
            REPO,
            clock=self.clock,
            rng=random.Random(2),
            pages=self.root / "pages",
            job=self.job,
            server_url=self.hub.web_url,
            **options,
        )

    def forge(self, token: str | None = None, **options: object) -> GitHubForge:
        return self.open(self.client(token), **options)[0]

    @property
    def repo(self):
        return self.hub.repo(REPO)

    @property
    def head(self) -> str:
        """The one commit of the default branch."""
        return self.hub.store(REPO).resolve("main")

    def commit(self, files: dict[str, str], parent: str | None = None) -> str:
        """A commit on top of the default branch, or of `parent`, with other files."""
        store = self.hub.store(REPO)
        entries = [
            {"path": path, "mode": "100644", "sha": store.write_blob(text.encode())}
            for path, text in files.items()
        ]
        tree = store.write_tree(parent or self.head, entries, self.hub.scratch())
        return store.write_commit(tree, [parent or self.head], "Change", self.hub.now())

    def pull(self, **changes: object) -> int:
        return self.hub.open_pull(REPO, **({"head": self.head} | changes)).number

    def check(self, name: str = "lora-ci / mei", **changes: object) -> Check:
        given = {"head": self.head, "outcome": Outcome.FAILED, "title": "failed", "summary": "a"}
        return Check(name=name, **(given | changes))

    def draft(self, notes: str = "the notes", **files: bytes) -> ReleaseDraft:
        paths = {name.replace("_", "."): self.root / name for name in files}
        for name, data in files.items():
            (self.root / name).write_bytes(data)
        return ReleaseDraft(
            tag="mei@v1.0.0", commit=self.head, title="mei 1.0.0", notes=notes, files=paths
        )


@contextmanager
def open_world(root: Path, **options: object) -> Iterator[World]:
    """A world as long as the block lasts; what breaks GitHub's description fails it."""
    with FakeGitHub(**options) as hub:
        hub.add_repo(REPO)
        store = hub.store(REPO)
        tree = store.write_tree(None, [], hub.scratch())
        store.set_ref("refs/heads/main", store.write_commit(tree, [], "Begin", hub.now()))
        yield World(hub, root)
