"""The clone that a job works in: brought up to date, and nothing checked out."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lora_ci.changes.git import Repository, words
from lora_ci.core.errors import InfrastructureError, InputError

TIMEOUT_S = 3600.0
# What git tidies up it does now: nothing goes on behind our back. No hook of anybody's is run.
QUIET = ("-c", "gc.autoDetach=false", "-c", "core.hooksPath=/dev/null")
HINT = "next: git ls-remote on it; may the token read the contents?"


def ensure_clone(clone: Path, url: str, *, head: str, number: int | None) -> Repository:
    """The clone of `url` with the branches as they are now and the commit `head`.

    A fork's commit comes by the pull request `number`. Git finds its token in the environment.

    Raises:
        InputError: the commit is not there, or not any more.
        InfrastructureError: git cannot reach it.
    """
    clone.parent.mkdir(parents=True, exist_ok=True)
    with _alone(clone.with_name(f".{clone.name}.lock")):
        repo = Repository(clone)
        if not (clone / ".git").is_dir():
            _clone(clone, url)
        _git(repo, "remote", "set-url", "origin", url)
        _git(repo, "fetch", "-q", "--prune", "origin", "+refs/heads/*:refs/remotes/origin/*")
        if repo.find_commit(head) is None and number is not None:
            # The pull request may have moved on, or be hidden: the commit's own id is next.
            _try(repo, f"+refs/pull/{number}/head:refs/lora-ci/pulls/{number}")
        if repo.find_commit(head) is None:
            _try(repo, head)
        if repo.find_commit(head) is None:
            hint = "a force-push takes commits away; a newer push is run by itself"
            raise InputError(f"commit {head} is not at {url} any more", hint=hint)
        return repo


def _clone(clone: Path, url: str) -> None:
    """Whole or not at all: a killed one leaves a folder that is made again."""
    building = clone.with_name(f".{clone.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    _git(Repository(clone.parent), "clone", "-q", "--no-checkout", url, str(building))
    building.rename(clone)


def _try(repo: Repository, refspec: str) -> None:
    repo.git(*QUIET, "fetch", "-q", "origin", refspec, timeout_s=TIMEOUT_S)


def _git(repo: Repository, *args: str) -> None:
    done = repo.git(*QUIET, *args, timeout_s=TIMEOUT_S)
    if done.returncode != 0:
        raise InfrastructureError(f"git {args[0]}: {words(done)}", hint=HINT)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time: two that fetch into one clone get into each other's way."""
    with path.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
