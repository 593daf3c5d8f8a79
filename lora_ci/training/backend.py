"""Who trains: lora-ci itself, or another trainer as a process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Protocol

import lora_ci
from lora_ci.core.settings import TrainSettings, parse_settings
from lora_ci.core.step import StepContext, StepResult, StepSpec
from lora_ci.training.foreign.process import PATIENCE, Patience
from lora_ci.training.foreign.run import train_foreign
from lora_ci.training.native import train_here
from lora_ci.training.processes import count_processes, train_in_processes
from lora_ci.training.team import join_team


class TrainerBackend(Protocol):
    """Trains an adapter. tests/contracts/test_trainer_backend.py says what all have in common."""

    def train(self, spec: StepSpec, context: StepContext) -> StepResult:
        """The adapter as `adapter.safetensors` and `adapter-kohya.safetensors`.

        `details` has the loss curve, and below `backend` what trained, with its versions.

        Raises:
            InputError: this cannot be trained.
            InfrastructureError: this machine cannot train it.
            Interrupted: a stop was asked for; what was done is kept for the next attempt.
        """
        ...


@dataclass(frozen=True, slots=True)
class Native:
    """lora-ci's own loop, on as many GPUs as the spec asks for."""

    def train(self, spec: StepSpec, context: StepContext) -> StepResult:
        """As `TrainerBackend.train`."""
        settings = parse_settings(spec.params["settings"], TrainSettings)
        each = count_processes(spec, settings)
        if each * spec.resources.nodes > 1:
            result = train_in_processes(spec, context, each)
        else:
            result = train_here(spec, context, join_team())
        versions = {name: version(name) for name in ("torch", "diffusers", "peft")}
        return told_of(result, "native", {"lora-ci": lora_ci.__version__, **versions})


@dataclass(frozen=True, slots=True)
class Foreign:
    """A trainer of others: sd-scripts, ai-toolkit, or any command."""

    patience: Patience = PATIENCE

    def train(self, spec: StepSpec, context: StepContext) -> StepResult:
        """As `TrainerBackend.train`."""
        settings = parse_settings(spec.params["settings"], TrainSettings)
        result, versions = train_foreign(settings, spec, context, self.patience)
        return told_of(result, settings.backend, versions)


def backend_of(settings: TrainSettings) -> TrainerBackend:
    """Who trains by these settings."""
    return Native() if settings.backend == "native" else Foreign()


def told_of(result: StepResult, name: str, versions: Mapping[str, str]) -> StepResult:
    """The result with what made it."""
    return replace(result, details={**result.details, "backend": {"name": name, **versions}})
