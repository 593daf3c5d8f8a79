"""Folders that appear whole: locked while they are made, moved to their place, flushed."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lora_ci.core.errors import UsageError


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Raises BlockingIOError where another process has it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def move_to(folder: Path, target: Path) -> None:
    """Moves a finished folder to its place. Raises UsageError if something came there meanwhile."""
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        hint = "next: give the name of a new folder"
        raise UsageError(f"{target} was made by another meanwhile", hint=hint) from error
    flush_names(target.absolute().parent)


def flush_names(folder: Path) -> None:
    """Waits until the names in a folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
