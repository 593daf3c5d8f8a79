"""The real command in a child process, as a user types it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.builders import RepoBuilder

TIMEOUT_S = 180


@dataclass(frozen=True, slots=True)
class Told:
    """What a command said."""

    code: int
    out: str
    err: str

    def errors(self) -> list[str]:
        """The messages, one a finding."""
        return [line for line in self.err.splitlines() if line.startswith("error: ")]


def lora_ci(
    folder: Path,
    *args: str,
    max_file_bytes: int | None = None,
    without_root_powers: bool = False,
    env: Mapping[str, str] | None = None,
) -> Told:
    """Runs `lora-ci` in a folder to its end; a traceback never reaches a user."""
    command = [sys.executable, "-m", "lora_ci", *args]
    if without_root_powers and os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("root can write everywhere, and setpriv is not installed")
        powers = "--bounding-set=-dac_override,-dac_read_search"
        command = ["setpriv", powers, "--", *command]

    if max_file_bytes:
        # Not between fork and exec: a test's process has threads, and the child could crash there.
        command = ["prlimit", f"--fsize={max_file_bytes}", "--", *command]
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={**os.environ, **(env or {})},
        check=False,
    )
    told = Told(done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in told.out + told.err, told.err
    return told


def start(folder: Path, *args: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Starts `lora-ci` in a process group of its own, as a terminal does."""
    return subprocess.Popen(
        [sys.executable, "-m", "lora_ci", *args],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **(env or {})},
    )


@contextmanager
def running(
    folder: Path, *args: str, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Starts `lora-ci` as `start` does; it is killed after the block, or if it takes too long."""
    process = start(folder, *args, env=env)
    # Who waits for a line of it gets the end of the file then.
    watchdog = threading.Timer(TIMEOUT_S, process.kill)
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        process.kill()
        process.wait(TIMEOUT_S)


def end(process: subprocess.Popen[str]) -> Told:
    """Waits for it."""
    try:
        out, err = process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert "Traceback" not in out + err, err
    return Told(process.returncode, out, err)


def assert_one_message(told: Told, code: int, *words: str) -> None:
    """One message: what and where (`words`), and the next thing to type below it."""
    assert told.code == code, told.err + told.out
    assert len(told.errors()) == 1, told.err
    for word in words:
        assert word in told.err, told.err
    lines = told.err.splitlines()
    below = lines[lines.index(told.errors()[0]) + 1]
    assert below.startswith("  → "), told.err


def copy_repo(template: Path, target: Path) -> RepoBuilder:
    """A repository and its remote at another place."""
    shutil.copytree(template, target, symlinks=True)
    made = RepoBuilder.__new__(RepoBuilder)
    made.root, made.remote = target / "repo", target / "remote"
    # What a commit says of the remote holds for all copies; this machine knows better.
    local = made.root / ".dvc" / "config.local"
    local.write_text(f"['remote \"storage\"']\n    url = {made.remote}\n")
    return made
