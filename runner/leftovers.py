"""Ends processes that a job left behind: they hold the GPU's memory and write into the folder."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

# What an interrupted training has for its checkpoint.
GRACE_S = 10.0


def end_leftovers(folder: Path, tracking_id: str | None, *, grace_s: float = GRACE_S) -> list[str]:
    """Ends this user's processes that belong to a job in `folder`; returns what they were.

    A process belongs to it if it works in the folder, was started with a path in it, or has the
    tracking id that the runner gives to all it starts. Never one of ours: this process and those
    above it. They get SIGTERM, then, after the grace, SIGKILL.
    """
    ended: list[str] = []
    for number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        held = dict(_held(folder, tracking_id))
        for handle, shown in held.items():
            ended += [] if shown in ended else [shown]
            try:
                signal.pidfd_send_signal(handle, number)
            except ProcessLookupError:
                continue
        _wait(set(held), wait_s)
        for handle in held:
            os.close(handle)
    return ended


def _held(folder: Path, tracking_id: str | None) -> Iterator[tuple[int, str]]:
    """Handles of the processes: a pid that is used again by another process is not the handle's."""
    ours = _line_up(os.getpid())
    for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
        if pid in ours:
            continue
        try:
            handle = os.pidfd_open(pid)
        except OSError:
            continue
        if _belongs(pid, folder, tracking_id) and not _ended(handle, 0):
            yield handle, f"{pid} {_name(pid)}"
        else:
            os.close(handle)


def _belongs(pid: int, folder: Path, tracking_id: str | None) -> bool:
    place = Path(f"/proc/{pid}")
    try:
        if place.stat().st_uid != os.geteuid():
            return False
        works_in = os.readlink(place / "cwd")
        words = (place / "cmdline").read_bytes().split(b"\0")
        settings = (place / "environ").read_bytes().split(b"\0")
    except OSError:
        return False  # it has gone, or it is of another user after all
    root = os.fsencode(folder)
    tracked = tracking_id and b"RUNNER_TRACKING_ID=" + os.fsencode(tracking_id) in settings
    return bool(tracked) or any(
        path == root or path.startswith(root + b"/") for path in (os.fsencode(works_in), *words)
    )


def _line_up(pid: int) -> set[int]:
    """The process and those above it."""
    found = {pid}
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            break
        found.add(pid)
    return found


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return "?"


def _wait(handles: set[int], wait_s: float) -> None:
    deadline = time.monotonic() + wait_s
    left = set(handles)
    while left and (rest_s := deadline - time.monotonic()) > 0:
        left -= {handle for handle in left if _ended(handle, min(rest_s, 0.1) / len(left))}


def _ended(handle: int, wait_s: float) -> bool:
    return bool(select.select([handle], [], [], wait_s)[0])
