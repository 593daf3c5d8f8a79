"""A machine for the runner's programs: folders of its own, a user that is not root, a stand-in."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

RUNNER = Path(__file__).parents[1] / "runner"
NOBODY = 65534
TIMEOUT_S = 60
STEP = "0123456789abcdef0123456789abcdef"

# In place of actions/runner: notes what it was started with, then does as STUB says.
RUN_SH = """\
#!/bin/bash
mkdir -p "$OUT"
tr '\\0' '\\n' < /proc/$$/environ > "$OUT/env"
tr '\\0' ' ' < /proc/$$/cmdline > "$OUT/cmdline"
touch .runner _diag
export RUNNER_WORKSPACE=$PWD/_work/loras GITHUB_WORKSPACE=$PWD/_work/loras/loras
export GITHUB_REPOSITORY=acme/loras GITHUB_REF=refs/heads/main RUNNER_TRACKING_ID=github_1
case $STUB in
  exit-*) exit "${STUB#exit-}" ;;
  peek) cat "/proc/$PPID/environ" "/proc/$PPID/mem" > "$OUT/peeked" 2> "$OUT/refused"; exit 0 ;;
  deaf) trap '' INT TERM; echo $$ > "$OUT/busy"; while :; do sleep 0.1; done ;;
  job)
    mkdir -p "$GITHUB_WORKSPACE"
    (cd "$GITHUB_WORKSPACE" && bash -e "$ACTIONS_RUNNER_HOOK_JOB_STARTED") || exit 1
    step=$GITHUB_WORKSPACE/.lora-ci/steps/%(step)s/work/checkpoints
    if [[ -f $step/one ]]; then cp "$step/one" "$OUT/resumed"; fi
    mkdir -p "$step"; echo 40 > "$step/one"; touch "$HOME/.left"
    stop() {
      echo 50 > "$step/one"
      (cd "$GITHUB_WORKSPACE" && bash -e "$ACTIONS_RUNNER_HOOK_JOB_COMPLETED")
      exit 130
    }
    trap stop INT
    (cd "$GITHUB_WORKSPACE" && exec setsid sleep 300) &
    echo $! > "$OUT/left"
    echo $$ > "$OUT/busy"
    while :; do sleep 0.05; done ;;
esac
"""


@dataclass(slots=True)
class Machine:
    """Folders below `root`: `source` (the runner as unpacked), `home`, `keep`, `out`."""

    root: Path
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("source", "home", "keep", "out"):
            (self.root / name).mkdir()
        run_sh = self.root / "source" / "run.sh"
        run_sh.write_text(RUN_SH % {"step": STEP})
        run_sh.chmod(0o755)
        self.env = {
            "PATH": os.environ["PATH"],
            "OUT": str(self.root / "out"),
            "LORA_CI_RUNNER_SOURCE": str(self.root / "source"),
            "LORA_CI_RUNNER_HOME": str(self.root / "home"),
            "LORA_CI_RUNNER_NAME": "gpu0",
            "LORA_CI_KEEP": str(self.root / "keep"),
        }
        if os.geteuid() == 0:
            for path in (self.root, *self.root.rglob("*")):
                os.chown(path, NOBODY, NOBODY)

    def start(self, *words: str, **env: str) -> subprocess.Popen[str]:
        """Starts the entrypoint as a user that is not root."""
        program = [sys.executable, "-E", "-s", str(RUNNER / "entrypoint.py"), *words]
        return subprocess.Popen(
            [*as_nobody(), *program],
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str, **env: str) -> tuple[int, str]:
        """Its exit code and all that it said."""
        return self.end(self.start(*words, **env))

    def end(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """Waits for it."""
        try:
            said, _ = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        assert "Traceback" not in said, said
        return process.returncode, said

    def out(self, name: str) -> str:
        """What the stand-in noted."""
        return (self.root / "out" / name).read_text(errors="replace")

    def wait_for(self, name: str) -> str:
        """The same, once it is there."""
        path = self.root / "out" / name
        wait_until(lambda: path.exists() and path.read_text().endswith("\n"), name)
        return path.read_text().strip()


def as_nobody() -> list[str]:
    """The words before a command that make root another user."""
    if os.geteuid() != 0:
        return []
    if not shutil.which("setpriv"):
        pytest.skip("tests run as root, and setpriv is not installed")
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]


def wait_until(done: Callable[[], bool], what: str) -> None:
    """Polls, with a deadline."""
    deadline = time.monotonic() + TIMEOUT_S
    while not done():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """True for a process that has not ended; a zombie has."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
