"""Writes that survive a kill at any instruction: whole files, synced, one writer at a time."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lora_ci.core.errors import InfrastructureError
from lora_ci.signing.files import open_plain

LOCK_WAIT_S = 600.0
LOCK_POLL_S = 0.02
READ_ONLY = 0o444


def write_file(path: Path, data: bytes) -> None:
    """Puts a whole file at `path` in one move, replacing what was there."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def copy_file(source: Path, target: Path, *, limit_bytes: int) -> None:
    """Copies a plain file to where none is, synced and read-only.

    Raises IntegrityError if the source is none, InfrastructureError if it is over the limit.
    """
    target.unlink(missing_ok=True)
    with open_plain(source) as given:
        if os.fstat(given.fileno()).st_size > limit_bytes:
            raise InfrastructureError(f"{source.name}: larger than {limit_bytes} bytes")
        with target.open("xb") as made:
            shutil.copyfileobj(given, made, 1 << 20)
            made.flush()
            os.fchmod(made.fileno(), READ_ONLY)
            os.fsync(made.fileno())


def copy_folder(source: Path, target: Path, names: tuple[str, ...], *, limit_bytes: int) -> None:
    """Copies plain files to `target`, which is made anew; only when it is whole is it synced."""
    clear_folder(target)
    for name in names:
        copy_file(source / name, target / name, limit_bytes=limit_bytes)
    sync_folder(target)


def clear_folder(path: Path) -> None:
    """An empty folder at `path`, whatever an earlier attempt left there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.mkdir(parents=True)


def sync_folder(path: Path) -> None:
    """Makes the names in a folder as durable as the files."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lets one process at a time into the block; the kernel frees the lock of one that died."""
    deadline = time.monotonic() + LOCK_WAIT_S
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    message = f"{path}: another process has held it for {LOCK_WAIT_S:.0f} s"
                    raise InfrastructureError(message) from None
                time.sleep(LOCK_POLL_S)
        yield
