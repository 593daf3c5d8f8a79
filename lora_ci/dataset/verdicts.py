"""What was measured of files, kept: a file that did not change is neither read nor decoded again.

Measurements are kept by the sha256 of a file; thresholds come after them, so a changed threshold
decodes nothing. That a file still has the sha256 it had is told as git's index tells it: by
device, inode, size and time of change. Hard links, as those of DVC's cache, share all four.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import stat
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from lora_ci.dataset.decode import UnreadableError, read_file
from lora_ci.dataset.measured import Measured, from_bytes, to_bytes
from lora_ci.dataset.worker import measure_files

# Raise it when what is measured of a picture changes.
MEASURING = "7"
# Another number for other tables.
FILE = "dataset-verdicts-1.db"
SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    device INTEGER, inode INTEGER, size INTEGER, modified_ns INTEGER, sha256 BLOB,
    PRIMARY KEY (device, inode)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS verdicts (
    sha256 BLOB, measuring TEXT, measured BLOB, used_day INTEGER, UNIQUE (sha256, measuring));
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, content BLOB);
"""
BUSY_TIMEOUT_S = 30.0
# About 3 KB each. The least recently used go first.
MAX_VERDICTS = 500_000
# Clocks of file systems tick slowly: what changed just now may change again within the tick.
RACY_NS = 2_000_000_000
KEPT_EVERY = 1000
# Verdicts on the moment or the place, not on what the file holds.
PASSING = frozenset({"image.timeout", "image.changed", "image.link"})

Place = tuple[int, int, int, int]
T = TypeVar("T")


class Verdicts:
    """A database of measurements, in a folder that processes share.

    One that is damaged is made anew; where none can be, all is measured each time. `decoded` counts
    the files that had to be.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self.decoded = 0

    def measure(
        self, paths: Sequence[Path], max_pixels: int, progress: Callable[[int], None]
    ) -> list[Measured]:
        """As `measure_files`; what is known of a file is not measured again."""
        places = [_place(path) for path in paths]
        measuring = _measuring(max_pixels)
        nothing: dict[int, Measured] = {}
        found = self._within(lambda db: _read(db, paths, places, measuring), nothing)
        todo = [i for i in range(len(paths)) if i not in found]
        progress(len(found))
        for start in range(0, len(todo), KEPT_EVERY):
            some, before = todo[start : start + KEPT_EVERY], len(found)
            fresh = measure_files(
                [paths[i] for i in some], max_pixels, partial(_counted, progress, before)
            )
            rows = list(zip(fresh, (places[i] for i in some), strict=True))
            self._within(partial(_write, rows=rows, measuring=measuring), None)
            found |= dict(zip(some, fresh, strict=True))
        self.decoded += len(todo)
        return [found[i] for i in range(len(paths))]

    def note(self, name: str) -> bytes | None:
        """What was kept under a name."""

        def read(database: sqlite3.Connection) -> bytes | None:
            row = database.execute("SELECT content FROM notes WHERE name = ?", (name,)).fetchone()
            return bytes(row[0]) if row else None

        return self._within(read, None)

    def keep_note(self, name: str, content: bytes) -> None:
        """Keeps something under a name, instead of what was there."""

        def write(database: sqlite3.Connection) -> None:
            database.execute("REPLACE INTO notes VALUES (?, ?)", (name, content))

        self._within(write, None)

    def _within(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """What `work` returns, in one transaction; `otherwise` where there can be no database."""
        for _ in range(2):
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.closing(sqlite3.connect(self._path, BUSY_TIMEOUT_S)) as database:
                    database.execute("PRAGMA journal_mode = WAL")
                    database.execute("PRAGMA synchronous = NORMAL")
                    database.executescript(SCHEMA)
                    with database:
                        return work(database)
            except (sqlite3.OperationalError, OSError):
                return otherwise  # a full disk, or a lock that somebody keeps
            except sqlite3.DatabaseError:
                self._remove()
        return otherwise

    def _remove(self) -> None:
        for ending in ("", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                Path(f"{self._path}{ending}").unlink()


def _counted(progress: Callable[[int], None], before: int, done: int) -> None:
    progress(before + done)


def _measuring(max_pixels: int) -> str:
    """All that a measurement depends on but the file."""
    decoders = f"{version('pillow')}/{version('simplejpeg')}/{version('numpy')}"
    return f"{MEASURING}/{decoders}/{max_pixels}"


def _place(path: Path) -> Place | None:
    """(device, inode, size, time of change) of a regular file, else None."""
    try:
        found = path.lstat()
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _read(
    database: sqlite3.Connection,
    paths: Sequence[Path],
    places: Sequence[Place | None],
    measuring: str,
) -> dict[int, Measured]:
    """What is kept of files, by their index."""
    known: dict[int, Measured] = {}
    is_measured = "SELECT 1 FROM verdicts WHERE measuring = ? LIMIT 1"
    if database.execute(is_measured, (measuring,)).fetchone() is None:
        return known
    today, stale = _today(), []
    for index, (path, place) in enumerate(zip(paths, places, strict=True)):
        content = None if place is None else _content_of(database, path, place)
        if content is None:
            continue
        key = (content, measuring)
        row = database.execute(
            "SELECT measured, used_day FROM verdicts WHERE sha256 = ? AND measuring = ?", key
        ).fetchone()
        if row:
            with contextlib.suppress(ValueError):
                known[index] = from_bytes(path, row[0])
            if row[1] != today:
                stale.append((today, *key))
    update = "UPDATE verdicts SET used_day = ? WHERE sha256 = ? AND measuring = ?"
    database.executemany(update, stale)
    return known


def _content_of(database: sqlite3.Connection, path: Path, place: Place) -> bytes | None:
    """The sha256 of a file: the one it had, if it is at its place as it was, else by reading it."""
    row = database.execute(
        "SELECT size, modified_ns, sha256 FROM files WHERE device = ? AND inode = ?", place[:2]
    ).fetchone()
    if row and row[:2] == place[2:]:
        return bytes(row[2])
    try:
        content = hashlib.sha256(read_file(path)).digest()
    except UnreadableError:
        return None
    _remember(database, place, content)
    return content


def _write(
    database: sqlite3.Connection, rows: Sequence[tuple[Measured, Place | None]], measuring: str
) -> None:
    today = _today()
    for one, place in rows:
        if one.sha256 and not any(rule in PASSING for rule, _ in one.problems):
            content = bytes.fromhex(one.sha256)
            row = (content, measuring, to_bytes(one), today)
            database.execute("REPLACE INTO verdicts VALUES (?, ?, ?, ?)", row)
            if place is not None:
                _remember(database, place, content)
    (count,) = database.execute("SELECT count(*) FROM verdicts").fetchone()
    if count > MAX_VERDICTS:
        oldest = "SELECT rowid FROM verdicts ORDER BY used_day LIMIT ?"
        excess = count - MAX_VERDICTS * 9 // 10
        database.execute(f"DELETE FROM verdicts WHERE rowid IN ({oldest})", (excess,))  # noqa: S608
        database.execute("DELETE FROM files WHERE sha256 NOT IN (SELECT sha256 FROM verdicts)")


def _remember(database: sqlite3.Connection, place: Place, content: bytes) -> None:
    if time.time_ns() - place[3] > RACY_NS:
        database.execute("REPLACE INTO files VALUES (?, ?, ?, ?, ?)", (*place, content))


def _today() -> int:
    return int(time.time() // 86400)
