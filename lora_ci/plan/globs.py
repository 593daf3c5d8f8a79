"""Globs over paths, without regular expressions: a foreign pattern must not cost more than time
proportional to its length times the path's.
"""

from __future__ import annotations

from collections.abc import Sequence


def matches(path: str, globs: Sequence[str]) -> bool:
    """True if a glob fits the whole path.

    `*` and `?` stay within a folder; `**` as a whole part stands for any folders, or none.
    """
    parts = path.split("/")
    return any(_fits(parts, glob.split("/")) for glob in globs)


def _fits(parts: list[str], pattern: list[str]) -> bool:
    """Walks the pattern once; `reached` are the numbers of parts that may be behind it so far."""
    reached = {0}
    for piece in pattern:
        if piece == "**":
            reached = set(range(min(reached), len(parts) + 1))
        else:
            reached = {at + 1 for at in reached if at < len(parts) and _fits_name(parts[at], piece)}
        if not reached:
            return False
    return len(parts) in reached


def _fits_name(name: str, piece: str) -> bool:
    """One part of a path: a `*` first stands for nothing, and for one more where that fails."""
    at = here = 0
    star, resume = -1, 0
    while at < len(name):
        if here < len(piece) and piece[here] == "*":
            star, resume = here, at
            here += 1
        elif here < len(piece) and piece[here] in ("?", name[at]):
            at, here = at + 1, here + 1
        elif star >= 0:
            resume += 1
            at, here = resume, star + 1
        else:
            return False
    return not piece[here:].strip("*")
