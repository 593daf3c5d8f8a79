"""Runs a trainer to its end: its output is read, a stop passed on, nothing of it left alive."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lora_ci.core.children import clean_environment, started
from lora_ci.core.errors import InfrastructureError, InputError, Interrupted, machine_error
from lora_ci.training.foreign.progress import Watched

CHUNK_BYTES = 65536
MAX_LOG_BYTES = 64 * 1024 * 1024

Told = Callable[[int, int, str], None]
Stop = Callable[[], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long is waited: for any output, after SIGTERM, and between two looks at `stop`."""

    silence_s: float = 30 * 60.0
    # Shorter than that of whoever ends us, so that nothing of the trainer is left behind.
    grace_s: float = 15.0
    poll_s: float = 0.2


PATIENCE = Patience()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a trainer ended by itself: `code` as of `subprocess`, negative for a signal.

    `log` has all that it printed.
    """

    code: int
    watched: Watched
    log: Path


def run_trainer(
    command: tuple[str, ...],
    watched: Watched,
    *,
    folder: Path,
    log: Path,
    told: Told,
    stop: Stop,
    patience: Patience = PATIENCE,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Runs `command` in `folder`; `log` gets its output.

    It gets what a trainer of others needs of our environment, or else the `environment`.

    Raises:
        InfrastructureError: it cannot be started, or said nothing for too long.
        InputError: its loss is no number any more.
        Interrupted: `stop` said so, and it has ended.
    """
    if environment is None:
        environment = clean_environment(os.environ)
    with _started(command, folder, patience, environment) as process, log.open("ab") as file:
        _Watch(process, watched, file, told, stop, patience).to_its_end()
        watched.end()
        told(watched.done, watched.total, _note(watched))
        if watched.diverged:
            raise diverged(watched)
        return Ended(code=process.returncode, watched=watched, log=log)


@contextmanager
def _started(
    command: tuple[str, ...], folder: Path, patience: Patience, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """The trainer, which has time to save before it is killed."""
    with ExitStack() as stack:
        try:
            process = stack.enter_context(started(command, folder=folder, environment=environment))
        except OSError as error:
            raise _not_started(command[0], error) from error
        try:
            yield process
        finally:
            if process.poll() is None:
                _end(process, patience)


@dataclass(slots=True)
class _Watch:
    """A trainer that runs, and who looks at it."""

    process: subprocess.Popen[bytes]
    watched: Watched
    log: BinaryIO
    told: Told
    stop: Stop
    patience: Patience

    def to_its_end(self) -> None:
        """Reads until it has ended; what it started may hold its output open for longer."""
        output = self.process.stdout
        if output is None:
            raise InfrastructureError("the trainer's output is not connected")
        os.set_blocking(output.fileno(), False)
        heard, shown, ended = time.monotonic(), -1, False
        while not ended or time.monotonic() - heard < self.patience.grace_s:
            ended = self.process.poll() is not None
            ready, _, _ = select.select([output], [], [], 0 if ended else self.patience.poll_s)
            data = _read(output.fileno()) if ready else b""
            if data:
                heard = heard if ended else time.monotonic()
                _write(self.log, data)
                self.watched.feed(data)
            elif ended:
                return
            elif ready:
                # It closed its output: nothing more can be read, and its end is waited for.
                time.sleep(self.patience.poll_s)
            if self.watched.done != shown:
                shown = self.watched.done
                self.told(shown, self.watched.total, _note(self.watched))
            self.heed()
            if time.monotonic() - heard > self.patience.silence_s:
                raise _silent(self.patience.silence_s, self.log.name)

    def heed(self) -> None:
        """Ends a trainer that is to stop, or whose training is lost."""
        if self.stop():
            _end(self.process, self.patience)
            done = f"step {self.watched.done} of {self.watched.total}"
            raise Interrupted(f"the trainer was stopped after {done}")
        if self.watched.diverged:
            _end(self.process, self.patience)
            raise diverged(self.watched)


def _end(process: subprocess.Popen[bytes], patience: Patience) -> None:
    """SIGTERM, time to save, SIGKILL; its output is thrown away meanwhile, or it could block."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + patience.grace_s
    while process.poll() is None and time.monotonic() < deadline:
        if process.stdout is not None:
            _read(process.stdout.fileno())
        time.sleep(min(patience.poll_s, 0.05))
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _read(file: int) -> bytes:
    """What can be read now; nothing at the end, or where nothing is."""
    try:
        return os.read(file, CHUNK_BYTES)
    except BlockingIOError:
        return b""


def _write(log: BinaryIO, data: bytes) -> None:
    """Keeps the output, as far as there is room for it."""
    if log.tell() >= MAX_LOG_BYTES:
        return
    try:
        log.write(data)
        log.flush()
    except OSError as error:
        raise machine_error(error, log.name) or error from error


def _note(watched: Watched) -> str:
    return "starting" if watched.loss is None else f"loss {watched.loss:.4f}"


def diverged(watched: Watched) -> InputError:
    """The loss is NaN or infinite."""
    message = f"the loss is no number any more at step {watched.done} of {watched.total}"
    hint = "likely the learning rate is too high: try a tenth of it"
    return InputError(message, rule="train.diverged", hint=hint)


def _silent(silence_s: float, log: str) -> InfrastructureError:
    message = f"the trainer printed nothing for {silence_s / 60:g} minutes and was ended"
    hint = f"next: less {log}; does the trainer wait for a download?"
    return InfrastructureError(message, rule="train.silent", hint=hint)


def _not_started(program: str, error: OSError) -> InfrastructureError:
    message = f"the trainer cannot be started: {program}: {os.strerror(error.errno or 0)}"
    hint = "next: install it on the machine that trains; see docs/backends.md"
    return InfrastructureError(message, rule="train.not-started", hint=hint)
