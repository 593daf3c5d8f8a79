"""Keeps the checkpoints of unfinished steps from one job to the next one of the same ref.

Only `work/` of `.lora-ci/steps/<id>` is kept, and of it only plain files: a result is never taken
over from here, so what a job leaves can make the next one go on from it, not pass without working.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from wipe import FOLDER, wipe

STEP = re.compile(r"[0-9a-f]{32}")
STEPS = (".lora-ci", "steps")
KEPT_DAYS = 14
DEEPEST = 8
PIECE_BYTES = 1 << 20
MAX_RESULT_BYTES = 64 << 20
# An outcome that is not asked for again (`lora_ci.core.step`): its checkpoints are done with.
FINAL = ("passed", "failed", "inconclusive")


@dataclass(frozen=True, slots=True)
class Keep:
    """The kept checkpoints of one ref of one repository, below `root`."""

    root: Path
    repository: str
    ref: str

    @property
    def folder(self) -> Path:
        """No pull request sees what another one, or a branch, has kept."""
        return self.root / _name(self.repository) / _name(self.ref)

    def save(self, workspace: Path) -> list[str]:
        """Copies the unfinished steps of a workspace; returns their ids.

        Killed at any point, what was kept before is still there, or the new is. Raises OSError.
        """
        saved = []
        with _opened(workspace, *STEPS) as steps:
            names = sorted(filter(STEP.fullmatch, os.listdir(steps) if steps is not None else ()))
        if not names:
            return []
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            for step in names:
                if _is_finished(workspace, step):
                    _drop(self.folder / step)
                elif self._replace(step, workspace):
                    saved.append(step)
        return saved

    def bring_back(self, workspace: Path) -> list[str]:
        """Lays the kept steps out in a wiped workspace; returns their ids."""
        if not self.folder.is_dir():
            return []
        with self._alone():
            found = sorted(filter(STEP.fullmatch, os.listdir(self.folder)))
            for step in found:
                _copy(self.folder / step, (), workspace.joinpath(*STEPS, step, "work"))
        return found

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Only one runner of the machine at a time; what a killed one left half done is mended."""
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._mend()
            yield

    def _replace(self, step: str, workspace: Path) -> bool:
        """Copies beside the old, then swaps by two renames, which `_mend` completes."""
        new, old = self.folder / f".new-{step}", self.folder / f".old-{step}"
        try:
            if not _copy(workspace, (*STEPS, step, "work"), new):
                return False
            if (self.folder / step).exists():
                (self.folder / step).rename(old)
            new.rename(self.folder / step)
        finally:
            _drop(new)
            self._mend()
        return True

    def _mend(self) -> None:
        for name in os.listdir(self.folder):
            step = name[len(".old-") :]
            if name.startswith(".old-") and not (self.folder / step).exists():
                (self.folder / name).rename(self.folder / step)
            elif name.startswith((".new-", ".old-")):
                _drop(self.folder / name)


def forget_old(root: Path, now_s: float | None = None) -> None:
    """Drops what nobody came back to in two weeks."""
    limit = (time.time() if now_s is None else now_s) - KEPT_DAYS * 86400
    for step in root.glob("*/*/*"):
        if not step.is_symlink() and step.is_dir() and step.stat().st_mtime < limit:
            _drop(step)


def _name(text: str) -> str:
    """A file name that tells what it is of, and is of nothing else."""
    digest = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
    return f"{quote(text, safe='')[:80].lstrip('.')}-{digest[:16]}"


def _drop(folder: Path) -> None:
    if folder.is_symlink() or folder.exists():
        wipe(folder)
        folder.rmdir()


def _is_finished(workspace: Path, step: str) -> bool:
    """True if the step has a result that stands."""
    with _opened(workspace, *STEPS, step) as folder:
        if folder is None or (file := _open_plain("result.json", folder)) is None:
            return False
        with open(file, "rb") as reading:
            try:
                return json.loads(reading.read(MAX_RESULT_BYTES))["result"]["outcome"] in FINAL
            except (ValueError, LookupError, TypeError, RecursionError):
                return False


def _copy(top: Path, names: tuple[str, ...], target: Path) -> int:
    """Copies the plain files in a folder, never links, devices or pipes; returns how many."""
    with _opened(top, *names) as source:
        if source is None or len(names) > DEEPEST:
            return 0
        target.mkdir(parents=True, exist_ok=True)
        with os.scandir(source) as entries:
            found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
        copied = 0
        for name, is_folder in found:
            if is_folder:
                copied += _copy(top, (*names, name), target / name)
            else:
                copied += _copy_file(name, source, target / name)
    return copied


def _copy_file(name: str, folder: int, target: Path) -> int:
    file = _open_plain(name, folder)
    if file is None:
        return 0
    with open(file, "rb") as reading, target.open("wb") as writing:
        while piece := reading.read(PIECE_BYTES):
            writing.write(piece)
        writing.flush()
        os.fsync(writing.fileno())
    return 1


def _open_plain(name: str, folder: int) -> int | None:
    """A descriptor of a plain file; None for all else, and for what may not be read."""
    try:
        # O_NONBLOCK: a pipe would wait for a writer.
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    return None


@contextmanager
def _opened(folder: Path, *names: str) -> Iterator[int | None]:
    """A descriptor of a folder, reached without following a link; None if there is none."""
    handle: int | None = None
    try:
        handle = os.open(folder, FOLDER)
        for name in names:
            inner = os.open(name, FOLDER, dir_fd=handle)
            os.close(handle)
            handle = inner
    except OSError:
        if handle is not None:
            os.close(handle)
        handle = None
    try:
        yield handle
    finally:
        if handle is not None:
            os.close(handle)
