"""Executes one step folder."""

from __future__ import annotations

import fcntl
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from lora_ci.core.artifact import Artifact
from lora_ci.core.errors import (
    InfrastructureError,
    InputError,
    IntegrityError,
    Interrupted,
)
from lora_ci.core.finding import Finding
from lora_ci.core.signals import StopFlag, stop_on_signal
from lora_ci.core.step import Outcome, Progress, StepResult, StepSpec
from lora_ci.steps.folder import StepFolder
from lora_ci.steps.outcome import result_of
from lora_ci.steps.table import TABLE, Table, load
from lora_ci.store.store import ArtifactStore

PROGRESS_EVERY_S = 0.2
LOCK_POLL_S = 0.1
FINAL = (Outcome.PASSED, Outcome.FAILED, Outcome.INCONCLUSIVE)

Watch = Callable[[int, int, str], None]


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
            try:
                return self.store.get(given.sha256)
            except IntegrityError as error:
                # The store's fault, not the input's: no verdict may be kept.
                raise InfrastructureError(str(error), findings=error.findings) from error
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
    """Executes the step in `folder` and writes its result; a finished one is not done again.

    Raises:
        Interrupted: a signal came where no step could heed it any more, or not yet.
        InfrastructureError: the result could not be written.
    """
    spec = folder.read_spec()
    folder.workdir.mkdir(parents=True, exist_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    with stop_on_signal() as stop, sole_right(folder, stop, spec.resources.timeout_s, watch):
        result = folder.read_result(spec.fingerprint)
        if not (result and is_whole(result, store)):
            folder.drop_result()
            started = time.monotonic()
            context = Context(
                spec=spec, folder=folder, store=store, cache=cache, stop=stop, watch=watch
            )
            result = _run(spec, context, table)
            total = time.monotonic() - started
            result = replace(result, timings_s={**result.timings_s, "total": total})
            folder.write_result(spec.fingerprint, result)
        if result.outcome is Outcome.PASSED:
            folder.drop_scratch()
    if stop.raised and result.outcome is not Outcome.INTERRUPTED:
        raise Interrupted(f"stopped after {spec.stage} of {spec.lora}")
    return result


def is_whole(result: StepResult, store: ArtifactStore) -> bool:
    """True for a result that stands, with all it made still in the store."""
    return result.outcome in FINAL and all(store.has(a.sha256) for a in result.artifacts)


@contextmanager
def sole_right(
    folder: StepFolder, stop: StopFlag, wait_s: float, watch: Watch | None
) -> Iterator[None]:
    """Lets one process at a time work in a step folder; the kernel frees it when that one dies."""
    deadline = time.monotonic() + wait_s
    with (folder.path / "lock").open("w") as lock:
        while not _locked(lock.fileno()):
            if stop.raised:
                raise Interrupted("stopped while another process was at the same step")
            if time.monotonic() > deadline:
                raise InfrastructureError(f"{folder.path}: another process has it for too long")
            if watch and (other := folder.read_progress()):
                watch(other.done, other.total, f"{other.note} (another process is at it)")
            time.sleep(LOCK_POLL_S)
        yield


def _locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _run(spec: StepSpec, context: Context, table: Table) -> StepResult:
    try:
        run = load(spec.stage, table)
        # All that is there by now stays: a step is not to look for garbage in it again and again.
        gc.freeze()
        result = run(spec, context)
    except (Exception, KeyboardInterrupt, SystemExit) as error:  # noqa: BLE001 - the border of a step
        result = result_of(error, f"{spec.stage} of {spec.lora}", context.folder.path)
    finally:
        # Who executes steps in its own process has garbage of its own, such as a ledger to close.
        gc.unfreeze()
    return replace(result, findings=tuple(_as_user_knows(f, spec) for f in result.findings))


def _as_user_knows(finding: Finding, spec: StepSpec) -> Finding:
    """The message with inputs called by the names that stand in the config."""
    message = finding.message
    for given in spec.inputs.values():
        if given.path and given.shown_as:
            message = message.replace(given.path, given.shown_as)
    return replace(finding, message=message)
