"""Runs each attempt in a process group of its own, which outlives the one that started it."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lora_ci.core.errors import InfrastructureError, InputError
from lora_ci.core.step import Resources
from lora_ci.execution.environment import passed_on
from lora_ci.execution.executor import Attempt, Phase
from lora_ci.execution.processes import (
    kill_marked,
    process_of,
    signal_group,
    started_of,
)
from lora_ci.steps.folder import StepFolder

START_S = 30.0
WRITING_S = 1.0
POLL_S = 0.002
ATTEMPTS = "attempts"
MARK = "LORA_CI_ATTEMPT"
# Writes who it is, unless the file is there already, and becomes the command. Whoever asks for the
# same attempt again, even while the first is about to start, finds that file.
SHIM = 'set -C; read -r stat < "/proc/$$/stat" && echo "$stat" > "$0" && exec "$@"'

Command = Callable[[StepFolder, Path, Path], list[str]]


def exec_step_command(folder: StepFolder, store: Path, cache: Path) -> list[str]:
    """The command line that executes a step folder."""
    # -P: what lies in the current folder, which may be foreign, is never imported.
    command = [sys.executable, "-P", "-m", "lora_ci", "exec-step", str(folder.path)]
    return [*command, "--store", str(store), "--cache", str(cache)]


@dataclass(frozen=True, slots=True)
class LocalExecutor:
    """Processes on this machine. The handle is `pid:start time:mark`.

    `named` are variables of our environment that attempts get too.
    """

    store: Path
    cache: Path
    command: Command = exec_step_command
    named: tuple[str, ...] = ()

    name = "local"
    lag_s = 0.0

    def submit(self, attempt: Attempt) -> str:
        need_one_machine(attempt.spec.resources)
        file = attempt.folder.path / ATTEMPTS / attempt.key
        file.parent.mkdir(parents=True, exist_ok=True)
        command = ["/bin/sh", "-c", SHIM, str(file)]
        command += self.command(attempt.folder, self.store, self.cache)
        with attempt.folder.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT if not file.exists() else subprocess.DEVNULL,
                env=self._environment(attempt),
                start_new_session=True,
            )
        deadline = time.monotonic() + START_S
        while (found := _own_word(file)) is None:
            if process.poll() is not None:
                # It came second, perhaps, and the first is about to write.
                deadline = min(deadline, time.monotonic() + WRITING_S)
            if time.monotonic() > deadline:
                process.kill()
                raise InfrastructureError(f"{file}: the attempt's process wrote nothing there")
            time.sleep(POLL_S)
        pid, started = found
        if pid != process.pid:
            # The second of two ends by itself: the file is there.
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=START_S)
        return f"{pid}:{started}:{_mark(attempt)}"

    def phases(self, handles: Collection[str]) -> Mapping[str, Phase]:
        return {h: Phase.RUNNING if process_of(h) else Phase.ENDED for h in handles}

    def cancel(self, handle: str, *, hard: bool) -> None:
        if pid := process_of(handle):
            signal_group(pid, signal.SIGKILL if hard else signal.SIGTERM)
        if hard:
            self.clear(handle)

    def clear(self, handle: str) -> None:
        """Ends what the step left running, in its own group or in one that it made."""
        if mark := mark_of(handle):
            kill_marked(f"{MARK}={mark}")

    def _environment(self, attempt: Attempt) -> dict[str, str]:
        environment = {**passed_on(os.environ, self.named), MARK: _mark(attempt)}
        if attempt.spec.resources.gpus and attempt.place.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(attempt.place.gpus)
        return environment


def mark_of(handle: str | None) -> str:
    """What processes of an attempt have in their environment as `LORA_CI_ATTEMPT`."""
    pid, _, rest = (handle or "").partition(":")
    return rest.partition(":")[2] if pid.isdecimal() else ""


def _mark(attempt: Attempt) -> str:
    """The key, made unique on this machine: ledgers of other repositories have it too."""
    folder = hashlib.sha256(os.fsencode(attempt.folder.path.absolute())).hexdigest()
    return f"{attempt.key}.{folder[:12]}"


def need_one_machine(resources: Resources) -> None:
    """Raises InputError where a step wants several machines, and there is one."""
    if resources.nodes > 1:
        raise InputError(
            f"`resources.nodes: {resources.nodes}`, but this executor has one machine for a step",
            hint="next: --executor ray=URL or slurm, or `resources.nodes: 1`",
        )


def _own_word(file: Path) -> tuple[int, str] | None:
    """Who the attempt's process is, as it wrote itself; None until it did."""
    try:
        return started_of(file.read_text())
    except FileNotFoundError:
        return None
