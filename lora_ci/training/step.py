"""The door of the room: runs the `train` step."""

from __future__ import annotations

from lora_ci.core.settings import TrainSettings, parse_settings
from lora_ci.core.step import StepContext, StepResult, StepSpec
from lora_ci.training.backend import backend_of
from lora_ci.training.merging import merge_shards


def run(spec: StepSpec, context: StepContext) -> StepResult:
    """Trains the adapter with the backend that the settings name, or merges that of its shards."""
    settings = parse_settings(spec.params["settings"], TrainSettings)
    if settings.shards > 1:
        return merge_shards(context, settings)
    return backend_of(settings).train(spec, context)
