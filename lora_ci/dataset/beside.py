"""A folder that appears whole: made beside its place, found again after a kill, then moved."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lora_ci.core.digest import sha256_bytes
from lora_ci.core.errors import UsageError
from lora_ci.store.whole import flush_names, locked, move_to

PREFIX = ".lora-ci-build-"


@contextmanager
def beside(target: Path, key: str) -> Iterator[Path]:
    """A folder beside the target that is this process's alone, with what a killed one left there.

    The same `key` stands for the same content: what was begun with another for this target is
    removed, unless a process works on it. `place` moves the folder; else it stays for a next time.

    Raises UsageError if another process builds the same there.
    """
    parent = target.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    mine = f"{PREFIX}{sha256_bytes(target.name.encode(errors='surrogateescape'))[:8]}-"
    folder = parent / f"{mine}{key[:16]}"
    for left in parent.glob(f"{mine}*"):
        if left != folder:
            with suppress(OSError), locked(left):
                shutil.rmtree(left)
    folder.mkdir(exist_ok=True)
    try:
        with locked(folder):
            yield folder
    except BlockingIOError as error:
        message = f"{target}: another process builds the same there"
        raise UsageError(message, hint="next: wait for it") from error


def place(folder: Path, target: Path) -> None:
    """Moves a finished folder to its place. Raises UsageError if something came there meanwhile."""
    for inner in (*(path for path in folder.rglob("*") if path.is_dir()), folder):
        flush_names(inner)
    move_to(folder, target)
