"""The config as it lies in a folder, so that it can be checked before it is committed.

Only what git would hold as a file is read: no links, which lead anywhere, and no pipes or devices.
"""

from __future__ import annotations

import errno
import os
import stat
from functools import partial
from pathlib import Path

from lora_ci.config.document import MAX_BYTES, Where, refused
from lora_ci.config.load import load_config
from lora_ci.config.model import Config
from lora_ci.core.errors import UsageError

# Waits for nobody who would write into a pipe.
AT_ONCE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
CHANGED = "something else by now"
KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


def read_config(path: Path) -> Config:
    """The config file as it lies there. Raises UsageError."""
    read = partial(read_file, path.parent)
    text = read(path.name)
    if text is None:
        raise UsageError(f"there is no config {path}", hint="next: lora-ci init")
    return load_config(text, path.name, read)


def read_file(root: Path, name: str) -> bytes | None:
    """A file below a folder, or just more of it than is allowed; None if nothing is there.

    Raises UsageError if it is no regular file, or lies behind a link.
    """
    refuse_other_kinds(root, name)
    try:
        file = _opened(root, name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return None
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise _not_regular(name, CHANGED) from error
        raise
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise _not_regular(name, CHANGED)
        with os.fdopen(file, "rb", closefd=False) as reader:
            return reader.read(MAX_BYTES + 1)
    finally:
        os.close(file)


def _opened(root: Path, name: str) -> int:
    """A descriptor of the file, reached without following a link below `root`."""
    *folders, last = name.split("/")
    inside = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for folder in folders:
            inner = os.open(folder, AT_ONCE | os.O_DIRECTORY, dir_fd=inside)
            os.close(inside)
            inside = inner
        return os.open(last, AT_ONCE, dir_fd=inside)
    finally:
        os.close(inside)


def refuse_other_kinds(root: Path, name: str) -> None:
    """Raises UsageError for what is there and is no regular file, or lies behind a link."""
    parts = name.split("/")
    for count in range(1, len(parts) + 1):
        part = "/".join(parts[:count])
        try:
            kind = stat.S_IFMT((root / part).lstat().st_mode)
        except OSError:
            return
        if kind == stat.S_IFLNK or (count == len(parts) and kind != stat.S_IFREG):
            raise _not_regular(part, KINDS.get(kind, "a device"))


def _not_regular(name: str, kind: str) -> UsageError:
    way = f"git rm --cached {name}" if kind == KINDS[stat.S_IFLNK] else f"mv {name} elsewhere"
    hint = f"next: {way}, then put the file itself there"
    return refused("not-a-file", f"it is {kind}, not a regular file", Where(name), hint)
