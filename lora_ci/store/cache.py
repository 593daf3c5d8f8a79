"""Files of things that can be made anew: encoded pictures, features, generated pictures.

Runs and processes share them. A file is written aside and moved into place, so a reader sees all of
it or none; it begins with the digest of the rest, so that one that was damaged is made anew.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Collection
from itertools import count
from pathlib import Path

DIGEST_BYTES = 32
# A file that is still written is not so old.
TORN_AFTER_S = 3600.0
_numbers = count()


def read_cached(path: Path) -> memoryview | None:
    """What was written, now the most recently used; None if it is absent or damaged."""
    try:
        content = memoryview(path.read_bytes())
    except FileNotFoundError:
        return None
    payload = content[DIGEST_BYTES:]
    if hashlib.sha256(payload).digest() != content[:DIGEST_BYTES]:
        return None
    mark_used(path)
    return payload


def write_cached(path: Path, payload: bytes) -> None:
    """Writes a file in one move. Other processes may write the same at the same time.

    Nothing waits for the disk: the digest tells what a power failure left half written.

    Raises:
        OSError: the disk is full or refuses; nothing is left behind.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.{next(_numbers)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            file.write(hashlib.sha256(payload).digest())
            file.write(payload)
        aside.replace(path)
    except OSError as error:
        # Writing to a file that is open names no file.
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        aside.unlink(missing_ok=True)


def prune(folders: Collection[Path], limit_bytes: int, kept: Collection[Path] = ()) -> int:
    """Removes the least recently used files until at most `limit_bytes` are left; how many went.

    `kept` stay, even if they are more than the limit, and what somebody else owns. Half-written
    files of processes that are gone are removed too.
    """
    staying = set(kept)
    found = []
    now = time.time()
    for path in (path for folder in folders for path in folder.glob("*/*")):
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        if not path.name.startswith("."):
            found.append((stat.st_mtime_ns, stat.st_size, path))
        elif now - stat.st_mtime > TORN_AFTER_S:
            _removed(path)
    excess = sum(size for _, size, _ in found) - limit_bytes
    removed = 0
    for _, size, path in sorted(found):
        if excess <= 0:
            break
        if path not in staying and _removed(path):
            excess, removed = excess - size, removed + 1
    return removed


def _removed(path: Path) -> bool:
    try:
        path.unlink(missing_ok=True)
    except PermissionError:
        return False
    return True


def mark_used(path: Path) -> None:
    """Marks the file as used; one that somebody else owns or has just removed stays as it is."""
    try:
        os.utime(path)
    except OSError:
        return
