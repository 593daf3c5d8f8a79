"""lora-ci's own training in this process: parse, encode, train, export, tell."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version

import msgspec
import torch

from lora_ci.core.artifact import Artifact
from lora_ci.core.digest import sha256_json
from lora_ci.core.errors import InputError, Interrupted
from lora_ci.core.finding import Severity
from lora_ci.core.settings import TrainSettings, parse_settings, settings_json
from lora_ci.core.step import Outcome, StepContext, StepResult, StepSpec
from lora_ci.diffusion.load import BaseModel, load_base
from lora_ci.diffusion.precision import dtype_name
from lora_ci.formats.contract import check_adapter
from lora_ci.training.adapter import need_names
from lora_ci.training.continued import Ends
from lora_ci.training.data import read_samples
from lora_ci.training.export import dora_findings, keep_adapter
from lora_ci.training.heap import keep_freed_memory
from lora_ci.training.keeping import Keeping
from lora_ci.training.loop import Surroundings, Trained, train
from lora_ci.training.material import Material, build_material
from lora_ci.training.memory import machine_at_fault, peak_memory_mb
from lora_ci.training.sampling import Sampler, sampler_of
from lora_ci.training.shards import Part
from lora_ci.training.supply import encoders_may_stay
from lora_ci.training.team import Team
from lora_ci.training.tracking import trackers_of

# Optimizers that packages of their own bring.
OF_OPTIMIZER = {
    "adamw8bit": "bitsandbytes",
    "prodigy": "prodigyopt",
    "schedule-free-adamw": "schedulefree",
}


@machine_at_fault()
def train_here(spec: StepSpec, context: StepContext, team: Team) -> StepResult:
    """Trains the adapter, and exports it for diffusers and for kohya's tools.

    Of a team, only the leader's result has artifacts.

    Raises:
        InputError: the dataset, the base or a setting is wrong, the loss is no number any more, or
            nothing was learned.
        InfrastructureError: memory ran out, the GPU is lost, or a process of the team.
        Interrupted: a stop was asked for; a checkpoint was written first.
    """
    settings = parse_settings(spec.params["settings"], TrainSettings)
    began = time.monotonic()
    model = load_base(
        context.input_path("base_model"),
        dtype_name(settings.precision, team.device),
        content_id=spec.inputs["base_model"].content_id,
        device=str(team.device),
    )
    need_names(model, settings)
    material = material_of(spec, context, model, settings, team)
    around = surroundings_of(spec, context, model, settings, team)
    if model.device.type == "cpu":
        keep_freed_memory()
    prepared = time.monotonic()
    try:
        trained = train(model, material, settings, around)
    finally:
        around.trackers.finish()
    ended = time.monotonic()
    artifacts: tuple[Artifact, ...] = ()
    if team.leads:
        told = {**trained.adapter.metadata, **_figures(settings, material, trained)}
        adapter = replace(trained.adapter, metadata=told)
        errors = tuple(f for f in check_adapter(adapter) if f.severity is Severity.ERROR)
        if errors:
            raise InputError("the training made an adapter of no use", findings=errors)
        artifacts = keep_adapter(adapter, model.family, spec, context)
        artifacts += _kept_samples(context, around.sampler)
    return StepResult(
        outcome=Outcome.PASSED,
        metrics={
            **_metrics(settings, material, trained),
            **_speed(ended - prepared, trained.steps_here),
            "peak_memory_mb": peak_memory_mb(team.device),
        },
        artifacts=artifacts,
        findings=(*material.findings, *trained.findings, *dora_findings(trained.adapter)),
        timings_s={
            "prepare": prepared - began,
            "train": ended - prepared,
            "export": time.monotonic() - ended,
        },
        details={
            **trained.curves.details(),
            "buckets": dict(material.buckets),
            "memory": asdict(trained.rung),
            "device": str(team.device),
            "processes": team.size,
            "precision": dtype_name(settings.precision, team.device),
            "optimizer": settings.optimizer,
            "prompts": list(around.sampler.prompts) if around.sampler else [],
        },
    )


def material_of(
    spec: StepSpec, context: StepContext, model: BaseModel, settings: TrainSettings, team: Team
) -> Material:
    """What is trained on, encoded before or as steps need it."""

    def told(done: int, total: int, note: str) -> None:
        context.progress(done, total, note)
        if context.stop_requested():
            raise Interrupted(f"stopped before training: {done:,} of {total:,} {note}, and kept")

    trigger = str(spec.params["trigger"])
    part = msgspec.convert(spec.params.get("part"), Part | None)
    repeats = msgspec.convert(spec.params.get("repeats", {}), dict[str, int])
    regularization = []
    if "regularization" in spec.inputs:
        regularization = read_samples(context.input_path("regularization"), "")
    return build_material(
        model,
        read_samples(context.input_path("dataset"), trigger, repeats),
        settings,
        trigger=trigger,
        cache=context.cache,
        regularization=regularization,
        part=part,
        told=told,
        begin=team.rank / team.size,
        # A team shares the work, which it could not step by step: each draws whole batches.
        at_once=team.size > 1 or not encoders_may_stay(model),
    )


def surroundings_of(
    spec: StepSpec, context: StepContext, model: BaseModel, settings: TrainSettings, team: Team
) -> Surroundings:
    """Where the training of a step lives."""
    prefix, ends = spec.params.get("prefix"), None
    if prefix:
        kind = machine_kind(settings, team.device)
        ends = Ends(cache=context.cache, prefix=f"{prefix}-{sha256_json(kind)[:16]}")
    sampled = settings.sample_every is not None and team.leads
    trigger, work = str(spec.params["trigger"]), context.workdir
    return Surroundings(
        keeping=Keeping(
            folder=work / "checkpoints",
            fingerprint=spec.fingerprint,
            team=team,
            ends=ends,
        ),
        progress=context.progress,
        stop=context.stop_requested,
        trackers=trackers_of(settings, spec.lora, work / "logs", settings_json(settings), team),
        sampler=sampler_of(model, settings, trigger, work) if sampled else None,
        team=team,
    )


def machine_kind(settings: TrainSettings, device: torch.device) -> dict[str, str]:
    """What rounds, and what names the state: one kind of machine ends to the same bytes.

    Another one begins a longer training anew.
    """
    kind = {"device": device.type, "precision": dtype_name(settings.precision, device)}
    if device.type == "cuda":
        kind["gpu"] = torch.cuda.get_device_name(device)
    packages = ["torch", "diffusers", "peft", "transformers"]
    packages += [OF_OPTIMIZER[settings.optimizer]] if settings.optimizer in OF_OPTIMIZER else []
    for name in packages:
        # An optimizer that is not installed is told where it is made.
        with suppress(PackageNotFoundError):
            kind[name] = version(name)
    return kind


def _kept_samples(context: StepContext, sampler: Sampler | None) -> tuple[Artifact, ...]:
    made = sampler.made() if sampler else []
    return tuple(context.keep(path.name, path, "image/png") for path in made)


def _speed(took_s: float, steps: int) -> dict[str, float]:
    """Nothing is known of it where all steps stood in a checkpoint."""
    return {"step_s": took_s / steps} if steps else {}


def _metrics(settings: TrainSettings, material: Material, trained: Trained) -> dict[str, float]:
    curves = trained.curves
    metrics = {
        "loss_first": curves.points[0].loss,
        "loss_last": curves.points[-1].loss,
        "steps": float(trained.steps),
        "images_seen": float(trained.steps * settings.batch_size),
        "images": float(len(material.pictures)),
        "epoch_images": float(material.epoch_images),
        "resolution": float(settings.resolution),
        "encoded_pictures": float(material.encoded_pictures),
        "encoded_captions": float(material.encoded_captions),
    }
    if trained.left_out:
        metrics["steps_left_out"] = float(trained.left_out)
    if curves.validation:
        best, loss = min(curves.validation, key=lambda pair: pair[1])
        metrics["validation_loss"] = curves.validation[-1][1]
        metrics["validation_loss_best"] = loss
        metrics["validation_best_step"] = float(best)
    return metrics


def _figures(settings: TrainSettings, material: Material, trained: Trained) -> dict[str, str]:
    """What kohya's tools show of a training; `formats/modelspec.py` says what may leave."""
    epochs = -(-trained.steps * settings.batch_size // material.epoch_images)
    figures = {
        "ss_learning_rate": f"{settings.learning_rate:g}",
        "ss_lr_scheduler": settings.schedule,
        "ss_max_train_steps": str(trained.steps),
        "ss_noise_offset": f"{settings.noise_offset:g}",
        "ss_num_epochs": str(epochs),
        "ss_num_train_images": str(material.dataset_pictures),
        "ss_resolution": f"({settings.resolution}, {settings.resolution})",
        "ss_seed": str(settings.seed),
        "ss_steps": str(trained.steps),
        "modelspec.resolution": f"{settings.resolution}x{settings.resolution}",
    }
    # What the optimizer does not use is no figure: it would tell equal trainings apart.
    if settings.optimizer == "prodigy":
        del figures["ss_learning_rate"]
    if settings.optimizer == "schedule-free-adamw":
        del figures["ss_lr_scheduler"]
    return figures
