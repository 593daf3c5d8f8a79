"""What a store's folder holds, and how it is taken away from there while others write."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lora_ci.store.local import SHA256

# What `LocalStore.put` has not finished, and what `remove` has not.
UNFINISHED = "put-"
ASIDE = ".gone-"


@dataclass(frozen=True, slots=True)
class Stored:
    """An object: `used_at` is when it was last put or read, in seconds since 1970."""

    sha256: str
    size_bytes: int
    used_at: float


def stored(root: Path) -> Iterator[Stored]:
    """The objects of the store at `root`, in order of their digests."""
    for folder in sorted(_folders(root)):
        for path in sorted(folder.iterdir()):
            sha256 = folder.name + path.name
            if SHA256.fullmatch(sha256):
                with suppress(FileNotFoundError):
                    stat = path.stat()
                    yield Stored(sha256, stat.st_size, stat.st_mtime)


def remove(root: Path, sha256: str, *, used_before: float) -> bool:
    """Removes an object that was not used since; True if it is gone.

    It is moved aside, looked at once more, and put back if somebody has put or read it in the
    meantime: what they got is there again, with the same bytes.
    """
    place = root / sha256[:2] / sha256[2:]
    aside = place.with_name(ASIDE + place.name)
    try:
        if place.stat().st_mtime >= used_before:
            return False
        place.rename(aside)
        if aside.stat().st_mtime >= used_before:
            aside.rename(place)
            return False
        aside.unlink()
    except FileNotFoundError:
        return False
    return True


def mend(root: Path, *, unused_since: float) -> int:
    """Puts back what a killed `remove` left aside; removes what a killed `put` left. How many."""
    mended = 0
    for folder in _folders(root):
        for aside in folder.glob(f"{ASIDE}*"):
            with suppress(FileNotFoundError):
                aside.rename(aside.with_name(aside.name.removeprefix(ASIDE)))
                mended += 1
    for torn in root.glob(f"{UNFINISHED}*"):
        with suppress(FileNotFoundError):
            if torn.stat().st_mtime < unused_since:
                torn.unlink()
                mended += 1
    return mended


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    with os.scandir(root) as entries:
        return [Path(e.path) for e in entries if len(e.name) == 2 and e.is_dir()]
