"""What the fake GitHub remembers, and how tests fill it."""

from __future__ import annotations

import itertools
import secrets
import subprocess
import tempfile
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from tests.fake_github.git_store import GitFailed, GitStore
from tests.fake_github.state import (
    App,
    Hook,
    Installation,
    Issue,
    Person,
    Pull,
    Release,
    Repo,
    Runner,
    Token,
)

ACTIONS_BOT = "github-actions[bot]"
RIGHTS = (
    "actions", "administration", "checks", "contents", "issues", "metadata",
    "organization_self_hosted_runners", "pull_requests", "repository_hooks", "statuses",
)  # fmt: skip
EVERYTHING = dict.fromkeys(RIGHTS, "write")


class World:
    """Repositories, people, tokens, apps. `now` is its clock, `lock` guards what is in it."""

    def __init__(self, now: Callable[[], float]):
        self.now = now
        self.lock = threading.RLock()
        self.repos: dict[str, Repo] = {}
        self.moved: dict[str, int] = {}
        self.people: dict[str, Person] = {}
        self.tokens: dict[str, Token] = {}
        self.apps: dict[str, App] = {}
        self.org_runners: dict[str, dict[int, Runner]] = {}
        self._ids = itertools.count(1001)
        self._folder = tempfile.TemporaryDirectory(prefix="fake-github-")

    def forget(self) -> None:
        """Removes what is on the disk."""
        self._folder.cleanup()

    def new_id(self) -> int:
        return next(self._ids)

    def stamp(self, at: float | None = None) -> str:
        """A time as GitHub writes it; now if none is given."""
        moment = datetime.fromtimestamp(self.now() if at is None else at, UTC)
        return f"{moment:%Y-%m-%dT%H:%M:%SZ}"

    # -- repositories ---------------------------------------------------------------------------

    def add_repo(
        self,
        full_name: str,
        path: Path | None = None,
        *,
        private: bool = False,
        default_branch: str = "main",
        fork_of: str | None = None,
    ) -> Repo:
        """A repository; `path` is the git directory to serve, bare or with a work tree."""
        owner, name = full_name.split("/")
        repo = Repo(
            owner=owner,
            name=name,
            id=self.new_id(),
            created=self.now(),
            private=private,
            default_branch=default_branch,
            git_dir=path,
            fork_of=fork_of,
        )
        with self.lock:
            self.person(owner)
            repo.permissions[owner.lower()] = "admin"
            self.repos[full_name.lower()] = repo
            self.moved.pop(full_name.lower(), None)
        return repo

    def repo(self, full_name: str) -> Repo:
        return self.repos[full_name.lower()]

    def rename_repo(self, full_name: str, new_name: str) -> Repo:
        """The old name leads to the new one from now on."""
        with self.lock:
            repo = self.repos.pop(full_name.lower())
            self.moved[full_name.lower()] = repo.id
            old, repo.name = repo.full_name, new_name.rpartition("/")[2]
            self.repos[repo.full_name.lower()] = repo
            for here in self.repos.values():
                for pull in here.pulls.values():
                    if pull.head_repo == old:
                        pull.head_repo = repo.full_name
        return repo

    def delete_repo(self, full_name: str) -> None:
        with self.lock:
            del self.repos[full_name.lower()]

    def store(self, repo: Repo | str) -> GitStore:
        """The git objects of a repository, made empty at the first call if it was given none."""
        with self.lock:
            repo = self.repo(repo) if isinstance(repo, str) else repo
            if repo.git_dir is None:
                repo.git_dir = Path(self._folder.name) / f"{repo.id}.git"
                branch = f"--initial-branch={repo.default_branch}"
                subprocess.run(["git", "init", "-q", "--bare", branch, repo.git_dir], check=True)
            return GitStore(repo.git_dir)

    def scratch(self) -> Path:
        """A file name nobody else has."""
        return Path(self._folder.name) / f"scratch-{self.new_id()}"

    # -- people, tokens, apps -------------------------------------------------------------------

    def person(self, login: str, kind: str | None = None) -> Person:
        """The person of a name, who is made up at the first call."""
        with self.lock:
            known = self.people.get(login.lower())
            if known is None:
                kind = kind or ("Bot" if login.endswith("[bot]") else "User")
                known = self.people[login.lower()] = Person(login, self.new_id(), kind)
            return known

    def grant(self, login: str, repo: str, level: str) -> None:
        """What a person may do: none, read, triage, write, maintain, admin."""
        with self.lock:
            self.person(login)
            self.repo(repo).permissions[login.lower()] = level

    def token(
        self,
        permissions: dict[str, str] | None = None,
        *,
        kind: str = "actions",
        login: str | None = None,
        repos: tuple[str, ...] | None = None,
        scopes: tuple[str, ...] = ("repo",),
        value: str | None = None,
    ) -> str:
        """A token with these rights, all if none are named.

        `kind`: `actions` is a workflow's GITHUB_TOKEN; `classic` (rights by `scopes`) and `fine`
        are personal ones of `login`.
        """
        prefix = {"actions": "ghs_", "classic": "ghp_", "fine": "github_pat_"}[kind]
        token = Token(
            value=value or prefix + secrets.token_hex(18),
            kind=kind,
            login=login or (ACTIONS_BOT if kind == "actions" else "someone"),
            permissions=dict(EVERYTHING if permissions is None else permissions),
            repos=repos,
            app="github-actions" if kind == "actions" else None,
            scopes=scopes if kind == "classic" else (),
            limit=1000 if kind == "actions" else 5000,
        )
        with self.lock:
            self.person(token.login)
            self.tokens[token.value] = token
        return token.value

    def add_app(
        self,
        public_key: bytes,
        *,
        slug: str = "lora-ci",
        owner: str = "acme",
        permissions: dict[str, str] | None = None,
        hook: Hook | None = None,
    ) -> App:
        """A GitHub App with the public half of its key (PEM)."""
        app = App(
            id=self.new_id(),
            slug=slug,
            owner=owner,
            public_key=public_key,
            permissions=dict(EVERYTHING if permissions is None else permissions),
            hook=hook,
        )
        with self.lock:
            self.apps[slug] = app
        return app

    def install(self, app: App, *repos: str, permissions: dict[str, str] | None = None) -> int:
        """Installs an app on repositories of one owner; the installation's id."""
        account = self.repo(repos[0]).owner
        installation = Installation(
            id=self.new_id(),
            account=account,
            permissions=dict(app.permissions if permissions is None else permissions),
            repos=[self.repo(r).full_name for r in repos],
        )
        with self.lock:
            app.installations.append(installation)
        return installation.id

    def add_hook(self, repo: str, url: str, secret: str, events: tuple[str, ...] = ("*",)) -> Hook:
        """A webhook of a repository."""
        hook = Hook(self.new_id(), url, secret, events)
        with self.lock:
            self.repo(repo).hooks[hook.id] = hook
        return hook

    # -- issues and pull requests ---------------------------------------------------------------

    def open_issue(self, repo: str, title: str = "An issue", *, login: str = "mei") -> Issue:
        with self.lock:
            here = self.repo(repo)
            self.person(login)
            number = max(here.issues, default=0) + 1
            issue = Issue(number, self.new_id(), title, "", login, self.now())
            here.issues[number] = issue
            return issue

    def open_pull(
        self,
        repo: str,
        *,
        head: str,
        base: str | None = None,
        head_ref: str = "change",
        base_ref: str | None = None,
        fork: str | None = None,
        login: str = "mei",
        title: str = "A change",
        body: str = "",
        draft: bool = False,
    ) -> Pull:
        """A pull request; `fork` is the repository its head lies in, made up if unknown.

        `base` is the commit of the base branch if it is not to be looked up.
        """
        here = self.repo(repo)
        base_ref = base_ref or here.default_branch
        if base is None:
            base = self.store(here).resolve(base_ref)
            assert base is not None, f"{repo} has no branch {base_ref}: give base="
        with self.lock:
            if fork is not None and fork.lower() not in self.repos:
                self.add_repo(fork, fork_of=repo)
            issue = self.open_issue(repo, title, login=login)
            issue.body = body
            issue.pull = Pull(
                number=issue.number,
                id=self.new_id(),
                head=head,
                head_ref=head_ref,
                head_repo=fork or here.full_name,
                base=base,
                base_ref=base_ref,
                created=self.now(),
                draft=draft,
                association="FIRST_TIME_CONTRIBUTOR" if fork else "MEMBER",
            )
            self._name_head(here, issue.pull)
            return issue.pull

    def push_pull(self, repo: str, number: int, head: str) -> Pull:
        """A new head of a pull request."""
        with self.lock:
            here = self.repo(repo)
            pull = here.pulls[number]
            pull.head = head
            self._name_head(here, pull)
            return pull

    def close_pull(self, repo: str, number: int) -> Pull:
        with self.lock:
            issue = self.repo(repo).issues[number]
            assert issue.pull is not None
            issue.state, issue.closed = "closed", self.now()
            return issue.pull

    def merge_pull(self, repo: str, number: int, merge_commit: str, *, login: str = "mei") -> Pull:
        """Says that a pull request was merged as this commit. Moves no branch."""
        with self.lock:
            pull = self.close_pull(repo, number)
            pull.merged, pull.merged_by, pull.merge_commit = self.now(), login, merge_commit
            return pull

    def pushed(self, repo: Repo) -> None:
        """Moves the heads of open pull requests to where their branches are now."""
        heads = self.store(repo).refs("refs/heads/")
        with self.lock:
            for here in self.repos.values():
                for number, pull in here.pulls.items():
                    sha = heads.get(f"refs/heads/{pull.head_ref}")
                    mine = pull.head_repo == repo.full_name
                    if mine and sha and here.issues[number].state == "open":
                        pull.head = sha
                        self._name_head(here, pull)

    def _name_head(self, repo: Repo, pull: Pull) -> None:
        """refs/pull/N/head, as far as there are objects."""
        if repo.git_dir is None:
            return
        store = self.store(repo)
        if not store.has(pull.head) and pull.head_repo and pull.head_repo != repo.full_name:
            fork = self.repos.get(pull.head_repo.lower())
            if fork is not None and fork.git_dir is not None:
                store.git("fetch", "-q", str(fork.git_dir), "+refs/heads/*:refs/fork-heads/*")
        try:
            store.set_ref(f"refs/pull/{pull.number}/head", pull.head)
        except GitFailed:
            return
        for ref in store.refs("refs/fork-heads/"):
            store.git("update-ref", "-d", ref)

    # -- releases ---------------------------------------------------------------------------------

    def release(self, repo: str, tag: str) -> Release:
        """The published release of a tag, or else its draft."""
        found = [r for r in self.repo(repo).releases.values() if r.tag == tag]
        return min(found, key=lambda r: r.draft)
