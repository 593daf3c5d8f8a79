"""Any program: it gets our settings as JSON, and leaves an adapter in the output folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lora_ci.core.errors import UsageError
from lora_ci.core.settings import TrainSettings, settings_json
from lora_ci.training.foreign.install import Install, absent, checked_version
from lora_ci.training.foreign.job import Job
from lora_ci.training.foreign.launch import Launch

FORMAT = 1


def find_command(settings: TrainSettings, workdir: Path) -> Install:
    """The program's folder: `backend_folder`, whose commit is the version, or the step's own.

    Raises:
        InfrastructureError: it is not there, or of another version.
    """
    if settings.backend_folder is None:
        return Install(folder=workdir, python=Path(sys.executable), gpu=False, bf16=False)
    folder = Path(settings.backend_folder)
    if not folder.is_dir():
        raise absent(f"command: {folder} is no folder on this machine")
    commit = checked_version(settings, folder.resolve())
    return Install(
        folder=folder.resolve(),
        python=Path(sys.executable),
        gpu=False,
        bf16=False,
        versions={"commit": commit} if commit else {},
    )


def launch(job: Job, install: Install) -> Launch:
    """Writes the file of settings; the command line with its placeholders filled in.

    Raises:
        UsageError: there is no command.
    """
    if not job.settings.command:
        raise UsageError("the backend `command` has no `command`", hint="next: set train.command")
    config = job.workdir / "training.json"
    config.write_text(json.dumps(document(job), indent=1, sort_keys=True), "utf-8")
    values = {
        "{config}": str(config),
        "{dataset}": str(job.workdir / "pictures"),
        "{output}": str(job.output),
        "{base_model}": str(job.base.folder),
    }
    return Launch(
        command=tuple(filled(argument, values) for argument in job.settings.command),
        folder=install.folder,
        result=job.output,
    )


def document(job: Job) -> dict[str, object]:
    """What the program reads: see docs/backends.md."""
    return {
        "format": FORMAT,
        "trigger": job.trigger,
        "family": job.base.family.name,
        "base_model": str(job.base.folder),
        "output": str(job.output),
        "steps": job.steps,
        "images": job.images,
        "gpus": job.gpus,
        "pictures": [
            {
                "folder": str(part.folder),
                "images": part.images,
                "repeats": part.repeats,
                "regularization": part.regularization,
            }
            for part in job.pictures
        ],
        "settings": settings_json(job.settings),
    }


def filled(argument: str, values: dict[str, str]) -> str:
    """The argument with each placeholder replaced once; what it is replaced by is left alone."""
    for name, value in values.items():
        before, found, after = argument.partition(name)
        if found:
            return filled(before, values) + value + filled(after, values)
    return argument
