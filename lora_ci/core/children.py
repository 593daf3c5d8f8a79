"""Programs of others as children of ours: they get no secrets, and none of them is left alive."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from lora_ci.core.keeper import MARK, end_all

# What such a program gets of our environment: no token of a git host, tracker or cloud is among it.
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
# What was killed is gone by then, unless it hangs in the kernel.
COLLECT_S = 15.0


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What a program of others needs of an environment, and no secrets."""
    kept = {
        name: value
        for name, value in environment.items()
        if name.startswith(KEPT_ENVIRONMENT) and not any(word in name for word in LIKE_A_SECRET)
    }
    # What it says would stay in a buffer of the pipe.
    return kept | {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}


@contextmanager
def started(
    command: tuple[str, ...],
    *,
    folder: Path,
    environment: Mapping[str, str],
    stdin: int = subprocess.DEVNULL,
    stderr: int = subprocess.STDOUT,
) -> Iterator[subprocess.Popen[bytes]]:
    """The program in a process group of its own, its output in a pipe.

    Whatever is left of it at the end is killed, also where we are killed ourselves. Raises OSError
    if it cannot be started.
    """
    mark = secrets.token_hex(16)
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**environment, MARK: mark},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        start_new_session=True,
    )
    try:
        with _kept(process.pid, mark):
            yield process
    finally:
        end_all(process.pid, mark)
        _collect(process)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                # What it did not read any more is of no use to anybody.
                with suppress(BrokenPipeError):
                    pipe.close()


@contextmanager
def _kept(group: int, mark: str) -> Iterator[None]:
    """Has a process beside us that ends the program if we die: the pipe that we hold closes."""
    # -P: what lies in the current folder, which may be foreign, is never imported.
    command = [sys.executable, "-P", "-m", "lora_ci.core.keeper", str(group), mark]
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
        _collect(keeper)
        if keeper.stdin is not None:
            keeper.stdin.close()


def _collect(process: subprocess.Popen[bytes]) -> None:
    """Waits for a process that was killed; what hangs in the kernel ends when that lets it."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=COLLECT_S)
