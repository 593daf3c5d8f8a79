"""Which commit a head is compared with."""

from __future__ import annotations

from dataclasses import dataclass

from lora_ci.changes.git import OBJECT_ID, Repository
from lora_ci.changes.shallow import (
    fetch_commit,
    fetch_parent,
    is_ancestor,
    is_shallow,
    merge_bases,
)
from lora_ci.core.errors import UsageError
from lora_ci.core.event import EventKind

REMOTE = "refs/remotes/origin/"
HEADS = "refs/heads/"
USUAL = ("main", "master")


@dataclass(frozen=True, slots=True)
class Range:
    """The commit to compare with (None: everything is new) and how it was found, in one line."""

    base: str | None
    why: str


def find_range(
    repo: Repository,
    *,
    head: str,
    kind: EventKind,
    before: str | None = None,
    base: str | None = None,
    default_branch: str | None = None,
    last_success: str | None = None,
) -> Range:
    """The base for a head, by what is known of the event.

    `base` is the commit or branch that a pull request goes to, or that was asked for; `before` is
    what the branch was before a push; `last_success` the last commit that passed. Commits that are
    not here are fetched.

    Raises:
        UsageError: the head is that of a deleted branch, or what was asked for is not there.
        InfrastructureError: a shallow clone that git cannot deepen.
    """
    if not head.strip("0"):
        message = "the branch was deleted: there is no head to look at"
        raise UsageError(message, hint="next: nothing; no CI is needed for a deleted branch")
    head = repo.commit(head)
    if kind is EventKind.PULL_REQUEST and base:
        return _branched(repo, fetched(repo, base), head, _target(base))
    if base:
        return Range(fetched(repo, base), f"{_short(base)}, as asked")
    why_not = ""
    if before is not None:
        known = before if _usable(repo, before) else None
        if known and is_ancestor(repo, known, head):
            return Range(known, "the branch before this push")
        why_not = "a forced push: " if known else "the commit before this push is gone: "
        why_not = why_not if before.strip("0") else "a new branch: "
    return _fallback(repo, head, default_branch, last_success, why_not)


def _fallback(
    repo: Repository, head: str, default: str | None, last_success: str | None, why: str
) -> Range:
    tip = find_branch(repo, default) if default else None
    if tip and tip != head:
        bases = merge_bases(repo, tip, head)
        if bases and bases[0] != head:
            return Range(bases[0], f"{why}where it left {default}{_crossed(bases)}")
    if last_success and _usable(repo, last_success) and last_success != head:
        return Range(last_success, f"{why}the last commit that passed")
    if tip and (tip == head or repo.is_ancestor(head, tip)):
        parent = fetch_parent(repo, head)
        if parent is None:
            first = "the history is cut off" if is_shallow(repo) else "the first commit there is"
            return Range(None, f"{why}{first}: everything is new")
        return Range(parent, f"{why}on {default}: the commit before it")
    if tip:
        return Range(None, f"{why}no history in common with {default}: everything is new")
    return Range(None, f"{why}no default branch is known: everything is new")


def _branched(repo: Repository, base: str, head: str, name: str) -> Range:
    bases = merge_bases(repo, base, head)
    if not bases:
        return Range(None, f"no history in common with {name}: everything is new")
    return Range(bases[0], f"where it left {name}{_crossed(bases)}")


def _crossed(bases: list[str]) -> str:
    if len(bases) == 1:
        return ""
    return f" (the first of {len(bases)} merge bases: branches were merged crosswise)"


def _target(base: str) -> str:
    """What a pull request goes to; payloads give the commit alone."""
    return "the branch it goes to" if OBJECT_ID.fullmatch(base) else base


def _short(revision: str) -> str:
    return revision[:7] if len(revision) >= 40 else revision


def _usable(repo: Repository, commit: str) -> bool:
    """True if the commit is here, or could be fetched."""
    return bool(commit.strip("0")) and fetch_commit(repo, commit) is not None


def fetched(repo: Repository, revision: str) -> str:
    """The commit of that name, fetched if it is not here. Raises UsageError.

    An id means the commit, even where somebody called a branch so.
    """
    if OBJECT_ID.fullmatch(revision):
        return fetch_commit(repo, revision) or repo.commit(revision)
    found = find_branch(repo, revision) or fetch_commit(repo, revision)
    return found or repo.commit(revision)


def find_branch(repo: Repository, name: str) -> str | None:
    """The commit of a branch as the remote has it, else as it is here."""
    return repo.find_commit(f"{REMOTE}{name}") or repo.find_commit(f"{HEADS}{name}")


def default_branch(repo: Repository) -> str | None:
    """The name of the default branch: what origin says, else a usual name; None if none is here."""
    usual = [f"{place}{name}" for place in (REMOTE, HEADS) for name in USUAL]
    told = "--format=%(refname) %(symref)"
    done = repo.git("for-each-ref", told, f"{REMOTE}HEAD", *usual)
    lines = done.stdout.decode(errors="surrogateescape").splitlines()
    there = dict(line.split(" ", 1) for line in lines)
    said = there.get(f"{REMOTE}HEAD", "").removeprefix(REMOTE)
    if said and find_branch(repo, said):
        return said
    found = next((ref for ref in usual if ref in there), None)
    return found.rpartition("/")[2] if found else None
