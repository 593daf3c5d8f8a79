"""The door of the room: runs the `train` step."""

from __future__ import annotations

from lora_ci.core.settings import TrainSettings, parse_settings
from lora_ci.core.step import StepContext, StepResult, StepSpec
from lora_ci.training.backend import backend_of
from lora_ci.training.native import train_here
from lora_ci.training.processes import count_processes, train_in_processes
from lora_ci.training.team import join_team


def run(spec: StepSpec, context: StepContext) -> StepResult:
    """Trains the adapter with the backend that the settings name."""
    settings = parse_settings(spec.params["settings"], TrainSettings)
    return backend_of(settings).train(spec, context)


def train_native(spec: StepSpec, context: StepContext) -> StepResult:
    """Trains the adapter with lora-ci's own loop, on as many GPUs as the spec asks for."""
    settings = parse_settings(spec.params["settings"], TrainSettings)
    count = count_processes(spec, settings)
    if count > 1:
        return train_in_processes(spec, context, count)
    return train_here(spec, context, join_team())
