"""Runs a trainer to its end: its output is read, a stop passed on, nothing of it left alive."""

from __future__ import annotations

import os
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from lora_ci.core.errors import InfrastructureError, InputError, Interrupted, machine_error
from lora_ci.training.foreign.keeper import MARK, end_all
from lora_ci.training.foreign.progress import Watched

CHUNK_BYTES = 65536
MAX_LOG_BYTES = 64 * 1024 * 1024

# What a trainer gets of our environment: no token of a git host, tracker or cloud is among it.
KEPT_ENVIRONMENT = (
    "CUDA_",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "HOME",
    "LANG",
    "LC_",
    "LD_LIBRARY_PATH",
    "LIBRARY_PATH",
    "MKL_NUM_THREADS",
    "NCCL_",
    "NVIDIA_",
    "OMP_NUM_THREADS",
    "PATH",
    "PYTORCH_",
    "ROCR_",
    "TMPDIR",
    "TORCH_HOME",
    "TRANSFORMERS_CACHE",
    "TRANSFORMERS_OFFLINE",
    "TZ",
    "USER",
    "XDG_CACHE_HOME",
)
LIKE_A_SECRET = ("TOKEN", "SECRET", "PASSWORD", "_KEY")

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
        environment = trainer_environment(os.environ)
    with _started(command, folder, patience, environment) as process, log.open("ab") as file:
        _Watch(process, watched, file, told, stop, patience).to_its_end()
        watched.end()
        told(watched.done, watched.total, _note(watched))
        if watched.diverged:
            raise diverged(watched)
        return Ended(code=process.returncode, watched=watched, log=log)


def trainer_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a trainer needs of an environment, and no secrets."""
    kept = {
        name: value
        for name, value in environment.items()
        if name.startswith(KEPT_ENVIRONMENT) and not any(word in name for word in LIKE_A_SECRET)
    }
    # Progress would stay in a buffer of the pipe.
    return kept | {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}


@contextmanager
def _started(
    command: tuple[str, ...], folder: Path, patience: Patience, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """The trainer in a process group of its own; whatever is left of it at the end is killed."""
    mark = secrets.token_hex(16)
    try:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**environment, MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise _not_started(command[0], error) from error
    try:
        with _kept(process.pid, mark):
            try:
                yield process
            finally:
                if process.poll() is None:
                    _end(process, patience)
    finally:
        # A second signal may have cut the first try short.
        end_all(process.pid, mark)
        _collect(process, patience.grace_s)
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def _kept(group: int, mark: str) -> Iterator[None]:
    """Has a process beside us that ends the trainer if we die: the pipe that we hold closes."""
    # -P: what lies in the current folder, which may be foreign, is never imported.
    command = [sys.executable, "-P", "-m", "lora_ci.training.foreign.keeper", str(group), mark]
    environment = {name: value for name, value in os.environ.items() if name != MARK}
    keeper = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        keeper.kill()
        _collect(keeper, PATIENCE.grace_s)
        if keeper.stdin is not None:
            keeper.stdin.close()


def _collect(process: subprocess.Popen[bytes], wait_s: float) -> None:
    """Waits for a process that was killed; what hangs in the kernel ends when that lets it."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=wait_s)


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
