"""The door of the room: runs the `train` step."""

from __future__ import annotations

import time
from dataclasses import replace

import msgspec
import torch

from lora_ci.core.errors import Interrupted
from lora_ci.core.settings import TrainSettings, parse_settings
from lora_ci.core.step import Outcome, StepContext, StepResult, StepSpec
from lora_ci.diffusion.load import BaseModel, load_base
from lora_ci.formats.write import Format, write_adapter
from lora_ci.training.backend import backend_of
from lora_ci.training.cache import cached_captions, cached_latents
from lora_ci.training.data import drawn_order, read_samples
from lora_ci.training.loop import Material, train

MEDIA_TYPE = "application/vnd.safetensors"


def run(spec: StepSpec, context: StepContext) -> StepResult:
    """Trains the adapter with the backend that the settings name."""
    settings = parse_settings(spec.params["settings"], TrainSettings)
    return backend_of(settings).train(spec, context)


def train_native(spec: StepSpec, context: StepContext) -> StepResult:
    """Trains the adapter here and exports it for diffusers and for kohya's tools."""
    settings = parse_settings(spec.params["settings"], TrainSettings)
    trigger = str(spec.params["trigger"])
    started = time.monotonic()

    def told(done: int, total: int, note: str) -> None:
        context.progress(done, total, note)
        if context.stop_requested():
            raise Interrupted(f"stopped before the first step: {done} of {total} {note}, and kept")

    model = load_base(context.input_path("base_model"))
    dataset = context.input_path("dataset")
    samples = read_samples(dataset, trigger)
    repeats = msgspec.convert(spec.params.get("repeats", {}), dict[str, int])
    order = torch.tensor(drawn_order(samples, dataset, repeats))
    base = spec.inputs["base_model"].content_id
    latents = cached_latents(
        model,
        samples,
        settings.resolution,
        flip=settings.flip,
        cache=context.cache,
        base=base,
        told=told,
    )
    texts = [*(sample.caption for sample in samples), ""]
    captions = cached_captions(model, texts, cache=context.cache, base=base, told=told)
    prepared = time.monotonic()
    trained = train(
        without_encoders(model),
        Material(latents=latents, captions=captions[:-1], empty=captions[-1], order=order),
        settings,
        folder=context.workdir / "checkpoints",
        fingerprint=spec.fingerprint,
        progress=context.progress,
        stop=context.stop_requested,
    )
    ended = time.monotonic()
    adapter = replace(
        trained.adapter,
        metadata={
            "modelspec.sai_model_spec": "1.0.1",
            "modelspec.architecture": "stable-diffusion-v1/lora",
            "modelspec.title": spec.lora,
            "modelspec.trigger_phrase": trigger,
            "ss_network_module": "networks.lora",
            "ss_network_dim": str(settings.rank),
            "ss_network_alpha": f"{settings.alpha:g}",
        },
    )
    artifacts = []
    for name, kind in (
        ("adapter.safetensors", Format.DIFFUSERS),
        ("adapter-kohya.safetensors", Format.KOHYA),
    ):
        write_adapter(adapter, context.workdir / name, kind)
        artifacts.append(context.keep(name, context.workdir / name, MEDIA_TYPE))
    return StepResult(
        outcome=Outcome.PASSED,
        metrics={
            "loss_first": trained.losses[0][1],
            "loss_last": trained.losses[-1][1],
            "steps": float(trained.steps),
            "images_seen": float(trained.steps * settings.batch_size),
            "images": float(len(samples)),
            "step_s": (ended - prepared) / max(1, trained.steps_here),
        },
        artifacts=tuple(artifacts),
        timings_s={"prepare": prepared - started, "train": ended - prepared},
        details={"loss": [list(pair) for pair in trained.losses]},
    )


def without_encoders(model: BaseModel) -> BaseModel:
    """The model without what is not needed once latents and captions are cached."""
    model.let_go()
    return model
