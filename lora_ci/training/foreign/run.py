"""A training by another trainer, from the spec to the adapter in our formats."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path

from lora_ci.core.errors import InputError, LoraCIError
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.settings import TrainSettings
from lora_ci.core.step import Outcome, StepContext, StepResult, StepSpec
from lora_ci.diffusion.outline import base_shapes
from lora_ci.formats.adapter import Adapter
from lora_ci.formats.contract import check_adapter
from lora_ci.formats.read import read_adapter
from lora_ci.training.export import dora_findings, keep_adapter
from lora_ci.training.foreign import ai_toolkit, command, sd_scripts
from lora_ci.training.foreign.failure import failure, no_result
from lora_ci.training.foreign.install import Install, find_install
from lora_ci.training.foreign.job import Job, read_job
from lora_ci.training.foreign.launch import Launch
from lora_ci.training.foreign.process import PATIENCE, Ended, Patience, run_trainer
from lora_ci.training.foreign.progress import Watched

LOG = "trainer.log"
# How a file stands on disk: another one under the same name differs in one of them.
Stamp = tuple[int, int, int]


def train_foreign(
    settings: TrainSettings,
    spec: StepSpec,
    context: StepContext,
    patience: Patience = PATIENCE,
) -> tuple[StepResult, Mapping[str, str]]:
    """Trains with the trainer that `settings.backend` names; the result, and its versions.

    Raises:
        InputError: the trainer refused the training, failed it, or left no adapter that fits.
        InfrastructureError: the trainer is not here, of another version, or the machine's victim.
        Interrupted: a stop was asked for; the trainer has ended.
    """
    started = time.monotonic()
    install = installed(settings, context.workdir)
    job = read_job(spec, context, settings)
    prepared = time.monotonic()
    ended, path = _to_its_end(job, install, context, patience)
    took = time.monotonic() - prepared
    adapter, findings = _fitting(path, job)
    watched = ended.watched
    curve = watched.losses
    result = StepResult(
        outcome=Outcome.PASSED,
        metrics={
            **({"loss_first": curve[0][1], "loss_last": curve[-1][1]} if curve else {}),
            "steps": float(job.steps),
            "images_seen": float(job.steps * settings.batch_size),
            "images": float(sum(p.images for p in job.pictures if not p.regularization)),
            "step_s": took / job.steps,
        },
        artifacts=keep_adapter(adapter, job.base.family, spec, context),
        findings=(*findings, *dora_findings(adapter)),
        timings_s={"prepare": prepared - started, "train": took},
        details={"loss": [list(pair) for pair in curve]},
    )
    return result, install.versions


def installed(settings: TrainSettings, workdir: Path) -> Install:
    """The trainer on this machine. Raises InfrastructureError."""
    match settings.backend:
        case "sd-scripts":
            return find_install(settings, "train_network.py")
        case "ai-toolkit":
            return find_install(settings, "run.py")
        case _:
            return command.find_command(settings, workdir)


def _launch(job: Job, install: Install) -> Launch:
    match job.settings.backend:
        case "sd-scripts":
            return sd_scripts.launch(job, install)
        case "ai-toolkit":
            return ai_toolkit.launch(job, install)
        case _:
            return command.launch(job, install)


def _to_its_end(
    job: Job, install: Install, context: StepContext, patience: Patience
) -> tuple[Ended, Path]:
    """Runs the trainer; a state that it cannot go on from is given up for an older one."""
    backend = job.settings.backend
    while True:
        launch = _launch(job, install)
        before = stamps(launch.result)
        ended = run_trainer(
            launch.command,
            Watched(total=job.steps, bar=launch.bar),
            folder=launch.folder,
            log=context.workdir / LOG,
            told=context.progress,
            stop=context.stop_requested,
            patience=patience,
        )
        if ended.code == 0:
            return ended, _result(launch, before, backend, ended)
        error: LoraCIError = failure(backend, ended)
        unread = isinstance(error, InputError) and ended.watched.loss is None
        if launch.resumed_from is None or not unread:
            raise error
        shutil.rmtree(launch.resumed_from, ignore_errors=True)


def stamps(result: Path) -> dict[Path, Stamp]:
    """The adapter files at or below `result`, as they stand now; links lead elsewhere."""
    files = [result] if result.suffix == ".safetensors" else sorted(result.rglob("*.safetensors"))
    found = {}
    for path in files:
        if path.is_file() and not path.is_symlink():
            status = path.stat()
            found[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return found


def _result(launch: Launch, before: dict[Path, Stamp], backend: str, ended: Ended) -> Path:
    """The newest adapter that was written by this run. Raises InputError."""
    after = stamps(launch.result)
    written = {path: stamp for path, stamp in after.items() if before.get(path) != stamp}
    if not written:
        missing = f"no new {launch.result.name}"
        if launch.result.suffix != ".safetensors":
            missing = f"no new .safetensors in {launch.result}"
        raise no_result(backend, ended, missing)
    return max(written, key=lambda path: (written[path][0], path))


def _fitting(path: Path, job: Job) -> tuple[Adapter, tuple[Finding, ...]]:
    """The adapter in a trainer's file, and warnings. Raises InputError if it does not fit."""
    adapter = read_adapter(path)
    found = check_adapter(adapter, base_shapes(job.base.folder))
    errors = tuple(f for f in found if f.severity is Severity.ERROR)
    if errors:
        message = f"{job.settings.backend} wrote an adapter that does not fit the base model"
        raise InputError(message, findings=errors)
    return adapter, found
