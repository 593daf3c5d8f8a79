"""Takes away what nothing needs any more: rows, artifacts, folders of steps and of inputs.

Others may be at work. What they have just put, got or laid out is marked as used, and what was
used in the last hour, or since the oldest unfinished step was begun, stays.
"""

from __future__ import annotations

import fcntl
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

from lora_ci.app.plan_event import MONTH
from lora_ci.core.clock import Clock
from lora_ci.ledger.retention import Retention
from lora_ci.store.inventory import ASIDE, mend, remove, stored

GRACE = timedelta(hours=1)

# What is being done, how much of it, of how much.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """A ledger's folders; `ours` says that no other ledger needs what is in the store."""

    state: Path
    objects: Path
    ours: bool


@dataclass(slots=True, kw_only=True)
class Cleaned:
    """What went, or would go. `left_for_others` were not removed: the store may not be ours."""

    runs: int = 0
    records: int = 0
    objects: int = 0
    object_bytes: int = 0
    folders: int = 0
    folder_bytes: int = 0
    left_for_others: int = 0


@dataclass(slots=True, kw_only=True)
class CleanUp:
    """Removes what ended long ago and is not needed (`ledger.retention` says what is)."""

    retention: Retention
    places: Places
    clock: Clock
    dry_run: bool
    progress: Progress
    _cleaned: Cleaned = field(default_factory=Cleaned)

    def run(self, older_than: timedelta) -> Cleaned:
        """Takes away what ended longer ago than that.

        Rows of records stay for a month in any case: budgets count the GPU-hours of it.
        """
        retention, now = self.retention, self.clock.now()
        before, aged = _text(now - older_than), _text(now - max(older_than, MONTH))
        # First what goes on: what has ended since is on record by the time that those are read.
        begun_at, names = retention.in_use()
        needed = retention.needed(before)
        runs = retention.lapsed_runs(before)
        records = retention.finished_before(needed.lapsed, aged)
        since = min(now, datetime.fromisoformat(begun_at)) if begun_at else now
        used_before = (since - GRACE).timestamp()
        if not self.dry_run:
            retention.drop_runs(runs, before)
            retention.drop_records(records, aged)
        self._cleaned.runs, self._cleaned.records = len(runs), len(records)
        self._clean_store(needed.digests, used_before)
        for name in ("steps", "inputs"):
            self._clean_folders(name, names, (now - older_than).timestamp())
        return self._cleaned

    def _clean_store(self, needed: frozenset[str], used_before: float) -> None:
        objects, cleaned = self.places.objects, self._cleaned
        if self.places.ours and not self.dry_run:
            mend(objects, unused_since=used_before)
        going = [
            one for one in stored(objects) if one.sha256 not in needed and one.used_at < used_before
        ]
        if not self.places.ours:
            cleaned.left_for_others = len(going)
            return
        for number, one in enumerate(going, 1):
            if self.dry_run or remove(objects, one.sha256, used_before=used_before):
                cleaned.objects += 1
                cleaned.object_bytes += one.size_bytes
            self.progress("artifacts", number, len(going))

    def _clean_folders(self, name: str, in_use: frozenset[str], used_before: float) -> None:
        """Removes the folders of steps or inputs that nobody is at and nobody has used since."""
        parent, cleaned = self.places.state / name, self._cleaned
        if not parent.is_dir():
            return
        if not self.dry_run:
            # What a killed clean-up has left; one that goes on may have to put its own back.
            for left in parent.glob(f"{ASIDE}*"):
                if _used_at(left) < (self.clock.now() - GRACE).timestamp():
                    shutil.rmtree(left, ignore_errors=True)
        folders = [path for path in parent.iterdir() if path.is_dir() and path.name[0] != "."]
        going = [f for f in folders if f.name not in in_use and _used_at(f) < used_before]
        for number, folder in enumerate(going, 1):
            size_bytes = _size(folder)
            if self.dry_run or _remove_folder(folder, used_before):
                cleaned.folders += 1
                cleaned.folder_bytes += size_bytes
            self.progress(f"folders of {name}", number, len(going))


def _remove_folder(folder: Path, used_before: float) -> bool:
    """Moves it aside, looks once more, and removes it; False if somebody is at it, or was first."""
    aside = folder.with_name(ASIDE + uuid4().hex)
    with _sole(folder) as alone:
        if not alone:
            return False
        try:
            folder.rename(aside)
        except FileNotFoundError:
            return False
        if used_before <= _used_at(aside) < math.inf:
            aside.rename(folder)
            return False
    # Another clean-up may be at what is left of it.
    shutil.rmtree(aside, ignore_errors=True)
    return True


@contextmanager
def _sole(folder: Path) -> Iterator[bool]:
    """The lock that a process has as long as it works in a step's folder; inputs have none."""
    try:
        lock = (folder / "lock").open("rb")
    except FileNotFoundError:
        yield True
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _used_at(folder: Path) -> float:
    """When something was last written right below a folder, in seconds since 1970.

    Of one that was removed meanwhile: at no time that counts as long ago.
    """
    try:
        times = [folder.stat().st_mtime]
        if (folder / "spec.json").exists():
            times += [path.lstat().st_mtime for path in folder.iterdir()]
    except FileNotFoundError:
        return math.inf
    return max(times)


def _size(folder: Path) -> int:
    """The bytes of the files below a folder, as far as they are there."""
    found = 0
    for parent, _, files in os.walk(folder):
        for name in files:
            with suppress(FileNotFoundError):
                found += os.lstat(os.path.join(parent, name)).st_size
    return found


def _text(moment: datetime) -> str:
    """A moment as the ledger writes it."""
    return moment.isoformat(timespec="microseconds")
