"""Runs each step in a process group of its own, which outlives the one that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lora_ci.core.clock import Clock
from lora_ci.core.step import StepSpec
from lora_ci.steps.folder import StepFolder

GRACE_S = 30.0
POLL_S = 0.05

# Tokens of the git host, what lends them to git, the ledger's password, where the key is: a step
# needs none, as the spec of `deploy` names its key.
SECRET = (
    "GITHUB_TOKEN",
    "GIT_CONFIG_",
    "LORA_CI_LEDGER_URL",
    "LORA_CI_SIGNING_KEY",
    "LORA_CI_WEBHOOK_SECRET",
)

Command = Callable[[StepFolder, Path, Path], list[str]]


def exec_step_command(folder: StepFolder, store: Path, cache: Path) -> list[str]:
    """The command line that executes a step folder."""
    # -P: what lies in the current folder, which may be foreign, is never imported.
    command = [sys.executable, "-P", "-m", "lora_ci", "exec-step", "--quiet", str(folder.path)]
    return [*command, "--store", str(store), "--cache", str(cache)]


@dataclass(frozen=True, slots=True)
class ProcessExecutor:
    """Processes on this machine. The handle is `pid:start time`, so a reused pid is no match."""

    store: Path
    cache: Path
    clock: Clock
    command: Command = exec_step_command

    def submit(self, folder: StepFolder, spec: StepSpec) -> str:
        command = self.command(folder, self.store, self.cache)
        with folder.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={k: v for k, v in os.environ.items() if not k.startswith(SECRET)},
                start_new_session=True,
            )
        return f"{process.pid}:{started_at(process.pid) or 'gone'}"

    def running(self, folder: StepFolder, handle: str) -> bool:
        pid, _, started = handle.partition(":")
        reap(int(pid))
        return started_at(int(pid)) == started

    def cancel(self, folder: StepFolder, handle: str) -> None:
        group = int(handle.partition(":")[0])
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not self.running(folder, handle):
                return
            os.killpg(group, number)
            deadline = self.clock.monotonic() + GRACE_S
            while self.running(folder, handle) and self.clock.monotonic() < deadline:
                self.clock.sleep(POLL_S)


def reap(pid: int) -> None:
    """Collects the process if it is a child of ours that ended; a zombie would look alive."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return


def started_at(pid: int) -> str | None:
    """Start time of a live process in clock ticks since boot. Source: proc(5), field 22."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else fields[19]
