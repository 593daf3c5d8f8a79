"""The adapters of shards → that of their LoRA: `Σ wᵢ · upᵢ @ downᵢ`, with the ranks added up."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from lora_ci.core.errors import InputError, Interrupted
from lora_ci.core.settings import TrainSettings
from lora_ci.core.step import Outcome, StepContext, StepResult
from lora_ci.formats.adapter import Adapter
from lora_ci.formats.merge import merge
from lora_ci.formats.read import read_adapter
from lora_ci.formats.resize import Told
from lora_ci.training.export import keep_files

# Figures that lora-ci's trainings, and kohya's, write into their files.
IMAGES, STEPS = "ss_num_train_images", "ss_steps"


def merge_shards(context: StepContext, settings: TrainSettings) -> StepResult:
    """The adapter that all shards make together; each weighs as its part of all images.

    Its loss is not measured: that of each shard stands in the shard's own result.

    Raises:
        InputError: an adapter does not say what it was trained on, or they do not fit together.
        Interrupted: a stop was asked for.
    """
    began = time.monotonic()
    paths = [context.input_path(f"shard-{n}") for n in range(1, settings.shards + 1)]
    adapters = [read_adapter(path) for path in paths]
    images = [_figure(adapter, IMAGES) for adapter in adapters]
    steps = [_figure(adapter, STEPS) for adapter in adapters]

    def told(done: int, total: int, note: str) -> None:
        context.progress(done, total, note)
        if context.stop_requested():
            raise Interrupted(f"stopped after {done} of {total} layers: merging begins anew")

    merged = merge_by_images(adapters, images, told)
    artifacts = keep_files(merged, context)
    return StepResult(
        outcome=Outcome.PASSED,
        metrics={
            "shards": float(settings.shards),
            "rank": float(max(merged.ranks())),
            "images": float(sum(images)),
            "steps": float(sum(steps)),
            "images_seen": float(sum(steps) * settings.batch_size),
        },
        artifacts=artifacts,
        timings_s={"merge": time.monotonic() - began},
    )


def merge_by_images(
    adapters: Sequence[Adapter], images: Sequence[int], told: Told | None = None
) -> Adapter:
    """The exact sum of adapters, each weighted by its part of all images.

    Raises:
        UsageError: an adapter has no image.
        InputError: they do not fit together.
    """
    merged = merge(adapters, [count / sum(images) for count in images], told=told).adapter
    return replace(merged, metadata={**merged.metadata, IMAGES: str(sum(images))})


def figure_of(adapter: Adapter, key: str) -> int | None:
    """A whole number in the metadata of an adapter's file, None where there is none."""
    text = adapter.metadata.get(key, "")
    return int(text[:18]) if text.isascii() and text.isdigit() else None


def _figure(adapter: Adapter, key: str) -> int:
    found = figure_of(adapter, key)
    if not found:
        raise InputError(f"the adapter of a shard has no `{key}`", rule="train.shards")
    return found
