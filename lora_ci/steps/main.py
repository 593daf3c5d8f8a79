"""Executes one step folder; the only place where an error becomes an outcome."""

from __future__ import annotations

import errno
import fcntl
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from lora_ci.core.artifact import Artifact
from lora_ci.core.errors import (
    InfrastructureError,
    InputError,
    Interrupted,
    LoraCIError,
    UsageError,
)
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.step import Outcome, StepResult, StepSpec
from lora_ci.steps.folder import Progress, StepFolder
from lora_ci.steps.table import TABLE, Table, load
from lora_ci.store.local import LocalStore
from lora_ci.store.store import ArtifactStore

PROGRESS_EVERY_S = 0.2
LOCK_POLL_S = 0.1
FINAL = (Outcome.PASSED, Outcome.FAILED, Outcome.INCONCLUSIVE)

Watch = Callable[[int, int, str], None]


@dataclass(slots=True)
class StopFlag:
    """Set by SIGTERM and SIGINT; a second signal ends the process at once."""

    raised: bool = False

    def __call__(self, number: int, frame: object) -> None:
        if self.raised:
            raise KeyboardInterrupt
        self.raised = True


@dataclass(slots=True, kw_only=True)
class Context:
    """What a step may do (`core.step.StepContext`)."""

    spec: StepSpec
    folder: StepFolder
    store: ArtifactStore
    cache: Path
    stop: StopFlag
    watch: Watch | None = None
    _told_at: float = field(default=-1.0)

    @property
    def workdir(self) -> Path:
        return self.folder.workdir

    def input_path(self, name: str) -> Path:
        given = self.spec.inputs.get(name)
        if given is None:
            raise InputError(f"step {self.spec.stage} of {self.spec.lora} has no input `{name}`")
        if given.sha256:
            return self.store.get(given.sha256)
        path = Path(given.path or "")
        if not path.exists():
            raise InfrastructureError(f"input `{name}`: {path} is not on this machine")
        return path

    def keep(self, name: str, path: Path, media_type: str) -> Artifact:
        sha256 = self.store.put(path)
        size = path.stat().st_size
        return Artifact(name=name, sha256=sha256, size_bytes=size, media_type=media_type)

    def progress(self, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        if now - self._told_at < PROGRESS_EVERY_S and done < total:
            return
        self._told_at = now
        self.folder.write_progress(Progress(done=done, total=total, note=note))
        if self.watch:
            self.watch(done, total, note)

    def stop_requested(self) -> bool:
        return self.stop.raised


def exec_step(
    folder: StepFolder,
    store: ArtifactStore,
    cache: Path,
    *,
    watch: Watch | None = None,
    table: Table = TABLE,
) -> StepResult:
    """Executes the step in `folder` and writes its result; a finished one is not done again."""
    spec = folder.read_spec()
    folder.workdir.mkdir(parents=True, exist_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    with stop_on_signal() as stop, sole_right(folder, stop, spec.resources.timeout_s):
        done = folder.read_result(spec.fingerprint)
        if done and done.outcome in FINAL:
            return done
        started = time.monotonic()
        context = Context(
            spec=spec, folder=folder, store=store, cache=cache, stop=stop, watch=watch
        )
        result = _outcome_of(spec, context, table)
        total = time.monotonic() - started
        result = replace(result, timings_s={**result.timings_s, "total": total})
        folder.write_result(spec.fingerprint, result)
    return result


def main(folder: Path, store: Path, cache: Path) -> int:
    """`lora-ci exec-step`: the exit code says whether there is a result, not what it is."""
    result = exec_step(StepFolder(folder), LocalStore(store), cache)
    return 130 if result.outcome is Outcome.INTERRUPTED else 0


@contextmanager
def stop_on_signal() -> Iterator[StopFlag]:
    """Turns the first SIGTERM or SIGINT into a flag while the block runs."""
    flag = StopFlag()
    before = {number: signal.signal(number, flag) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def sole_right(folder: StepFolder, stop: StopFlag, wait_s: float) -> Iterator[None]:
    """Lets one process at a time work in a step folder; the kernel frees it when that one dies."""
    deadline = time.monotonic() + wait_s
    with (folder.path / "lock").open("w") as lock:
        while not _locked(lock.fileno()):
            if stop.raised:
                raise Interrupted("stopped while another process was at the same step")
            if time.monotonic() > deadline:
                raise InfrastructureError(f"{folder.path}: another process has it for too long")
            time.sleep(LOCK_POLL_S)
        yield


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _outcome_of(spec: StepSpec, context: Context, table: Table) -> StepResult:
    try:
        return load(spec.stage, table)(spec, context)
    except (Interrupted, KeyboardInterrupt) as error:
        findings = error.findings if isinstance(error, Interrupted) else ()
        return StepResult(outcome=Outcome.INTERRUPTED, findings=findings)
    except (InputError, UsageError) as error:
        return StepResult(outcome=Outcome.FAILED, findings=error.findings)
    except LoraCIError as error:
        return StepResult(outcome=Outcome.ERROR, findings=error.findings)
    except Exception as error:  # noqa: BLE001 - the border of a step: a crash is a result too
        return _crash(spec, error)


def _crash(spec: StepSpec, error: Exception) -> StepResult:
    full = isinstance(error, OSError) and error.errno == errno.ENOSPC
    finding = Finding(
        rule="step.disk-full" if full else "step.crashed",
        severity=Severity.ERROR,
        message="no space left on the disk"
        if full
        else f"{spec.stage} of {spec.lora} crashed: {type(error).__name__}: {error}",
        hint="free some space; the same command goes on where it stopped"
        if full
        else "see the traceback in the report; the step is tried again",
    )
    details = {"traceback": "".join(traceback.format_exception(error))}
    return StepResult(outcome=Outcome.ERROR, findings=(finding,), details=details)
