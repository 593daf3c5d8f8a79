"""Processes of this machine, told apart even where a pid is used again. Source: proc(5)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# What was killed is found until it is gone, which may take a moment. One look can miss a process
# that is young: several must find nothing, more where something was there to be found.
EMPTY_LOOKS, EMPTY_LOOKS_AFTER, MOST_LOOKS = 2, 8, 100


def reap(pid: int) -> None:
    """Collects the process if it is a child of ours that ended; a zombie would look alive."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def started_at(pid: int) -> str | None:
    """Start time of a live process in clock ticks since boot (field 22 of its `stat`)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else fields[19]


def handle_of(pid: int) -> str:
    """`pid:start time`, which is no other process's, also where the pid is used again."""
    return f"{pid}:{started_at(pid) or 'gone'}"


def process_of(handle: str) -> int | None:
    """The pid of a handle that begins so, while its process is alive on this machine."""
    word, _, rest = handle.partition(":")
    if not word.isdecimal():
        # Another version may have written it.
        return None
    pid = int(word)
    reap(pid)
    return pid if started_at(pid) == rest.partition(":")[0] else None


def started_of(stat: str) -> tuple[int, str] | None:
    """Pid and start time in the text of a `stat` file; None if it is torn."""
    head, _, rest = stat.rpartition(")")
    pid, fields = head.partition(" ")[0], rest.split()
    return (int(pid), fields[19]) if pid.isdecimal() and len(fields) > 19 else None


def of_mark(mark: str) -> Iterator[int]:
    """Live processes whose environment began with the variable `mark` (`NAME=value`).

    A process that gave itself another session and group is found so too; what it did to its own
    environment later does not count. Those of other users are not ours to see.
    """
    wanted = mark.encode()
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError):
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    yield int(folder.name)


def signal_group(group: int, number: signal.Signals) -> None:
    """Sends a signal to a process group, if there is one."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def kill_marked(mark: str) -> None:
    """Kills what a mark finds, until it finds nothing any more.

    Each may have started another meanwhile, which one look can miss: while a process becomes
    another program, it has no environment.
    """
    empty, needed = 0, EMPTY_LOOKS
    for _ in range(MOST_LOOKS):
        found = False
        for pid in of_mark(mark):
            found, needed = True, EMPTY_LOOKS_AFTER
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        empty = 0 if found else empty + 1
        if empty == needed:
            return
