"""Repositories get other names while jobs run: a link at the old place, for what works there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from lora_ci.bot.child import clone_of
from lora_ci.ledger.jobs import Job


def move_clone(state: Path, old: str, new: str) -> None:
    """The clone and its results go along; a link stays until `free_names`."""
    source, target = clone_of(state, old), clone_of(state, new)
    if source.is_symlink() or not source.is_dir() or source == target:
        return
    if target.is_symlink() and target.resolve() == source.resolve():
        target.unlink()  # it gets back the name that it had
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)
    source.symlink_to(target, target_is_directory=True)


def is_lent(state: Path, repo: str) -> bool:
    """True while the name leads to the clone of another repository, which had it before."""
    return clone_of(state, repo).is_symlink()


def free_names(state: Path, running: Iterable[Job]) -> None:
    """Takes away the links of old names under which no job was started that runs."""
    needed = {link for job in running for link in _links(clone_of(state, job.started_as))}
    for link in (state / "repos").glob("*/*"):
        if link.is_symlink() and link not in needed:
            link.unlink()


def _links(path: Path) -> Iterator[Path]:
    """The links on the way to where a name leads: a repository may move more than once."""
    while path.is_symlink():
        yield path
        path = path.readlink()
