"""Files that nobody vouches for yet: read without following links, bounded, named when refused."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from lora_ci.core.errors import IntegrityError

MAX_FILES = 1000


@contextmanager
def open_plain(path: Path) -> Iterator[BufferedReader]:
    """A file that is one; not through a link, and never waiting for a pipe's other end.

    Raises:
        IntegrityError: it is missing, or something else.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        problem = "a symbolic link" if path.is_symlink() else (error.strerror or "not readable")
        raise IntegrityError(f"{shown(path.name)}: {problem}; expected a plain file") from error
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise IntegrityError(f"{shown(path.name)}: expected a plain file")
        yield file


def read_plain(path: Path, limit_bytes: int) -> bytes:
    """The bytes of a small plain file. Raises IntegrityError."""
    with open_plain(path) as file:
        data = file.read(limit_bytes + 1)
    if len(data) > limit_bytes:
        raise IntegrityError(f"{path.name}: larger than {limit_bytes} bytes")
    return data


def list_plain(folder: Path) -> tuple[str, ...]:
    """Names of all files below a folder, with `/` between folders, sorted.

    Raises:
        IntegrityError: something there is neither a plain file nor a folder, or it is too much.
    """
    names: list[str] = []
    rest = [folder]
    while rest:
        for entry in _entries(rest.pop()):
            name = Path(entry.path).relative_to(folder).as_posix()
            if entry.is_dir(follow_symlinks=False):
                rest.append(Path(entry.path))
            elif entry.is_file(follow_symlinks=False):
                names.append(name)
            else:
                kind = "a symbolic link" if entry.is_symlink() else "a device or pipe"
                raise IntegrityError(f"{shown(name)}: {kind}; expected a plain file")
            if len(names) + len(rest) > MAX_FILES:
                raise IntegrityError(f"{folder}: more than {MAX_FILES} files")
    return tuple(sorted(names))


def digest_folder(folder: Path, *, but: str | None = None) -> dict[str, str]:
    """sha256 by name of all files below a folder but one. Raises IntegrityError."""
    digests = {}
    for name in list_plain(folder):
        if name != but:
            with open_plain(folder / name) as file:
                digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def check_folder(folder: Path, digests: Mapping[str, str], *, but: str) -> None:
    """Compares a folder with what was signed; `but` is the file of the signature.

    Raises:
        IntegrityError: names the first file that is missing, too much or changed.
    """
    found = digest_folder(folder, but=but)
    for name in sorted(digests.keys() | found.keys()):
        if name not in found:
            raise IntegrityError(f"{shown(name)}: missing, but signed for")
        if name not in digests:
            raise IntegrityError(f"{shown(name)}: nobody signed for it")
        if found[name] != digests[name]:
            message = (
                f"{shown(name)}: changed; its sha256 is {found[name]}, signed was {digests[name]}"
            )
            raise IntegrityError(message, hint="get it again")


def shown(name: str) -> str:
    """A name that a stranger chose, fit for a terminal."""
    return name[:200] if name.isprintable() else ascii(name[:200])


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise IntegrityError(f"{folder}: {error.strerror}; expected a folder") from error
