"""Ends a program whose parent is gone: waits for the end of its input, then leaves nothing alive.

A process that is killed with SIGKILL can end nobody, and a trainer would keep its GPU
for hours.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

MARK = "LORA_CI_CHILD"


def end_all(group: int, mark: str) -> None:
    """Kills the process group, and whatever carries the mark in its environment.

    Launchers put their workers into groups of their own; what is started inherits the environment.
    """
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)
    for pid in marked(mark):
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def marked(mark: str) -> list[int]:
    """The processes with the mark. Source: proc(5), `environ`."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end_all(int(sys.argv[1]), sys.argv[2])
