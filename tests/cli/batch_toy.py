"""Stages that end at once, unless the trigger of a job says what they are to do."""

import sys
import time
from pathlib import Path

from lora_ci.core.errors import InputError, Interrupted
from lora_ci.core.step import Outcome, Stage, StepContext, StepResult, StepSpec


def run(spec: StepSpec, context: StepContext) -> StepResult:
    sys.stdout.write(f"{spec.stage} of {spec.lora}, by a toy\n")
    sys.stdout.flush()
    word = spec.params.get("trigger", "")
    if word == f"fail-{spec.stage}":
        raise InputError(f"{spec.stage} of {spec.lora} is bad \x1b[2J")
    if word == f"wait-{spec.stage}":
        _wait(context, Path(spec.inputs["dataset"].path or "") / "go")
    if spec.stage is not Stage.TRAIN:
        return StepResult(outcome=Outcome.PASSED)
    for i in range(3):
        context.progress(i + 1, 3, "loss 0.1")
    made = context.workdir / "made"
    made.write_text(f"adapter of {spec.lora}")
    return StepResult(
        outcome=Outcome.PASSED,
        artifacts=(context.keep("adapter.safetensors", made, "application/octet-stream"),),
    )


def _wait(context: StepContext, until: Path) -> None:
    """Until a file is there, which a test writes, or a signal comes."""
    deadline, saved = time.monotonic() + 60, context.workdir / "saved"
    if saved.exists():
        sys.stdout.write("goes on from what was saved\n")
    while not until.exists():
        context.progress(1, 10, "waiting")
        if context.stop_requested():
            saved.touch()
            raise Interrupted("stopped")
        assert time.monotonic() < deadline
        time.sleep(0.02)
