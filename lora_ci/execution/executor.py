"""A place that can run step folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from lora_ci.core.step import Stage, StepSpec
from lora_ci.steps.folder import StepFolder

# Shows a person how far a step is: LoRA, stage, done, total, note.
Watch = Callable[[str, Stage, int, int, str], None]


class Executor(Protocol):
    """Submit, poll, cancel. A handle is text that a later process can use as well."""

    def submit(self, folder: StepFolder, spec: StepSpec) -> str:
        """Starts the step whose spec is in the folder; returns its handle."""
        ...

    def running(self, folder: StepFolder, handle: str) -> bool:
        """False once the attempt ended in any way; its result, if any, is in the folder."""
        ...

    def cancel(self, folder: StepFolder, handle: str) -> None:
        """Stops the attempt, gently first; nothing of it is left when this returns."""
        ...


def step_folder(state: Path, fingerprint: str) -> StepFolder:
    """The folder of a fingerprint: every attempt at the same work finds the same checkpoints."""
    return StepFolder(state / "steps" / fingerprint[:32])
