"""History that is not here yet: single commits, and as much as a merge base needs."""

from __future__ import annotations

from lora_ci.changes.git import OBJECT_ID, Repository, words
from lora_ci.core.errors import InfrastructureError

FETCH_TIMEOUT_S = 300.0
DEEPEN = ("--deepen=50", "--deepen=500", "--unshallow")


def fetch_commit(repo: Repository, sha: str) -> str | None:
    """The full id of a commit, fetched from origin if it is not here.

    None if origin does not have it either, or there is no origin.
    """
    found = repo.find_commit(sha)
    if found or not OBJECT_ID.fullmatch(sha):
        return found
    # A whole clone stays one: a depth would cut its history off.
    depth = ("--depth=1",) if is_shallow(repo) else ()
    _fetch(repo, *depth, "origin", sha)
    return repo.find_commit(sha)


def merge_bases(repo: Repository, one: str, other: str) -> list[str]:
    """The best common ancestors; a shallow clone is deepened until there is one.

    Raises:
        InfrastructureError: the history is cut off and origin does not give more.
    """
    for depth in DEEPEN:
        found = repo.merge_bases(one, other)
        if found or not is_shallow(repo):
            return found
        problem = _fetch(repo, depth, "origin", one, other)
        problem = problem and _fetch(repo, depth, "origin")
        if problem:
            message = f"{repo.root}: the history is cut off, and git cannot fetch more: {problem}"
            raise InfrastructureError(message, hint="next: git fetch --unshallow")
    return repo.merge_bases(one, other)


def is_ancestor(repo: Repository, old: str, new: str) -> bool:
    """True if `new` came from `old`; as far down as it takes to tell. Raises as merge_bases."""
    return repo.is_ancestor(old, new) or (is_shallow(repo) and old in merge_bases(repo, old, new))


def fetch_parent(repo: Repository, commit: str) -> str | None:
    """The first parent, fetched if the history is cut off there; None for a root commit."""
    found = repo.parent(commit)
    if found is None and is_shallow(repo):
        _fetch(repo, "--deepen=1", "origin")
        found = repo.parent(commit)
    return found


def is_shallow(repo: Repository) -> bool:
    """True if older commits are missing."""
    return repo.git("rev-parse", "--is-shallow-repository").stdout.strip() == b"true"


def _fetch(repo: Repository, *args: str) -> str | None:
    """What git said if the fetch failed.

    Files are left out only where some are missing already: git would leave them out ever after.
    """
    thin = ("--filter=blob:none",) if is_shallow(repo) or repo.is_partial() else ()
    done = repo.git(
        "fetch",
        "-q",
        "--no-tags",
        "--no-recurse-submodules",
        "--no-write-fetch-head",
        *thin,
        *args,
        timeout_s=FETCH_TIMEOUT_S,
    )
    return None if done.returncode == 0 else words(done)
