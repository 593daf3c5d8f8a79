"""Each job is a process of its own, which outlives the server that started it.

It holds a lock on a file of its folder as long as it lives, and writes there who it is: a server
that finds the folder knows whether it goes on and can stop it, even if it never learned its pid.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from lora_ci.app.commands import Run
from lora_ci.bot.result import read_end
from lora_ci.bot.runner import End
from lora_ci.execution.processes import handle_of, process_of, signal_group
from lora_ci.ledger.jobs import Job

# What a job needs to know of the repository: the token above all, made for it.
Environment = Callable[[str], Mapping[str, str]]

# Where a process writes who it is.
HANDLE = "process"

# What only the server may know, and what would make the job take itself for one of a workflow's.
WITHHELD = ("LORA_CI_", "GITHUB_")
PASSED_ON = ("LORA_CI_STORE", "LORA_CI_SIGNING_KEY", "LORA_CI_CLAMD", "LORA_CI_YARA")


@dataclass(frozen=True, slots=True)
class ChildRunner:
    """Starts `lora-ci exec-job` in `jobs/<id>` below the state folder.

    `url` is where the server is reached, None where report pages are not to be linked. `shared`
    says where jobs keep and run steps that they have in common.
    """

    state: Path
    environment: Environment
    url: str | None
    shared: Mapping[str, str] = field(default_factory=dict)

    def start(self, job: Job, wanted: Run) -> str:
        folder = self.folder(job)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "asked.json").write_bytes(msgspec.json.encode(wanted))
        for name in ("result.json", HANDLE):
            (folder / name).unlink(missing_ok=True)
        command = [sys.executable, "-P", "-m", "lora_ci", "exec-job", "--json", str(folder)]
        command += ["--clone", str(clone_of(self.state, job.repo)), "--repository", job.repo]
        if self.url:
            command += ["--report-url", f"{self.url}/reports/{job.repo}/"]
        if job.run_id:
            command += ["--show", job.run_id]
        kept = {k: v for k, v in os.environ.items() if not k.startswith(WITHHELD) or k in PASSED_ON}
        environment = {**kept, **self.shared, **self.environment(job.repo)}
        if self.shared:
            environment["LORA_CI_LEDGER_REPO"] = job.repo
        with (
            (folder / "lock").open("ab") as lock,
            (folder / "result.json").open("wb") as result,
            (folder / "log").open("ab") as log,
        ):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=result,
                stderr=log,
                env=environment,
                start_new_session=True,
                pass_fds=[lock.fileno()],
            )
        return handle_of(process.pid)

    def end(self, job: Job) -> End | None:
        if job.handle:
            process_of(job.handle)  # collects one of ours that has ended
        folder = self.folder(job)
        return None if _is_locked(folder / "lock") else read_end(folder / "result.json")

    def stop(self, job: Job, *, hard: bool) -> None:
        if pid := process_of(job.handle or _own_word(self.folder(job))):
            signal_group(pid, signal.SIGKILL if hard else signal.SIGTERM)

    def folder(self, job: Job) -> Path:
        """What is known of a job: what was asked for, its result, its log."""
        return self.state / "jobs" / str(job.id)


def note_process(folder: Path) -> None:
    """Writes into the job's folder which process does it: this one."""
    (folder / HANDLE).write_text(handle_of(os.getpid()))


def clone_of(state: Path, repo: str) -> Path:
    """Where the clone of a repository is; its own state lies inside."""
    owner, _, name = repo.lower().partition("/")
    return state / "repos" / owner / name


def _own_word(folder: Path) -> str:
    """The handle that the process wrote; empty until it did."""
    try:
        return (folder / HANDLE).read_text()
    except FileNotFoundError:
        return ""


def _is_locked(path: Path) -> bool:
    """True while a process lives that has the lock."""
    try:
        with path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
