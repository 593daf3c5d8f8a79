"""Becomes an attempt's command, on the node that a cluster's scheduler chose for it.

`python -P -m lora_ci.execution.node [join] MARK FILE NAMES COMMAND…`: NAMES are variables of the
node's environment, with commas between them, that the attempt gets beside those that all get. What
joins an attempt that began elsewhere ends with the process that started it, too.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from pathlib import Path

from lora_ci.execution.environment import passed_on
from lora_ci.execution.local import MARK
from lora_ci.execution.processes import kill_marked, started_at

POLL_S = 0.25
# What is written where a process would say who it is, so that none begins any more.
NEVER = "never"
END = ".end"
JOIN = "join"


def begin(mark: str, file: Path, named: tuple[str, ...], command: list[str]) -> None:
    """Becomes the command, unless the attempt has begun before, or is not to begin any more."""
    pid = os.getpid()
    if claim(file, f"{socket.gethostname()} {pid} {started_at(pid)}"):
        watch((pid,), f"{MARK}={mark}", file)
        _become(mark, named, command)


def join(mark: str, file: Path, named: tuple[str, ...], command: list[str]) -> None:
    """Becomes a command of an attempt that has begun."""
    watch((os.getpid(), os.getppid()), f"{MARK}={mark}", file)
    _become(mark, named, command)


def _become(mark: str, named: tuple[str, ...], command: list[str]) -> None:
    # Schedulers block signals in what they start.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    environment = {**passed_on(os.environ, named), MARK: mark}
    os.execvpe(command[0], command, environment)  # noqa: S606


def claim(file: Path, words: str) -> bool:
    """Writes who begins an attempt, or that nobody will; False if that is settled already."""
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with file.open("x") as begun:
            begun.write(words)
    except FileExistsError:
        return False
    return True


def is_never(file: Path) -> bool:
    """True for an attempt that was ended before its turn came."""
    try:
        return file.read_text().startswith(NEVER)
    except OSError:
        return False


def ask_for_end(file: Path) -> None:
    """Has all processes of an attempt killed, wherever it runs."""
    file.with_name(file.name + END).touch()


def watch(pids: tuple[int, ...], mark: str, file: Path) -> None:
    """Starts a process that kills what has the mark once one of `pids` ends, or it is asked to.

    It has a session of its own and another parent: whoever ends the attempt does not end it. It is
    found by no mark, as it has the environment from before.
    """
    started = [started_at(pid) for pid in pids]
    if child := os.fork():
        os.waitpid(child, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    while [started_at(pid) for pid in pids] == started:
        if file.with_name(file.name + END).exists():
            kill_marked(mark)
        time.sleep(POLL_S)
    kill_marked(mark)
    os._exit(0)


if __name__ == "__main__":
    joins = sys.argv[1] == JOIN
    mark, file, named, *command = sys.argv[1 + joins :]
    become = join if joins else begin
    become(mark, Path(file), tuple(filter(None, named.split(","))), command)
