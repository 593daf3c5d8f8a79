"""What a user can set, per stage: the values that cross from the config to the steps.

These dataclasses are the single source of the config language: the JSON Schema is generated from
them (names, types, ranges, descriptions), and a step parses its `params` back into them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

T = TypeVar("T")


class LoraType(StrEnum):
    """What a LoRA teaches; chooses the QA preset."""

    CHARACTER = "character"
    STYLE = "style"
    OBJECT = "object"
    CONCEPT = "concept"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How an adapter is trained. The budget counts images seen, not steps."""

    rank: Annotated[int, Meta(ge=1, le=1024, description="LoRA rank", examples=[8, 16, 32])] = 16
    alpha: Annotated[float, Meta(gt=0, description="LoRA alpha; scale is alpha / rank")] = 16.0
    learning_rate: Annotated[
        float, Meta(gt=0, le=10, description="peak learning rate", examples=[0.0001])
    ] = 1e-4
    optimizer: Annotated[Literal["adamw"], Meta(description="optimizer")] = "adamw"
    weight_decay: Annotated[float, Meta(ge=0, description="AdamW weight decay")] = 0.01
    schedule: Annotated[
        Literal["constant", "cosine"], Meta(description="learning-rate schedule")
    ] = "cosine"
    warmup_steps: Annotated[int, Meta(ge=0, description="linear warm-up, in steps")] = 0
    batch_size: Annotated[int, Meta(ge=1, le=4096, description="images a step")] = 4
    images_seen: Annotated[
        int, Meta(ge=1, description="training budget in images", examples=[4000])
    ] = 4000
    resolution: Annotated[
        int, Meta(ge=8, le=4096, description="pixels; square buckets", examples=[512, 1024])
    ] = 512
    flip: Annotated[bool, Meta(description="mirror half of the images seen")] = False
    caption_dropout: Annotated[
        float, Meta(ge=0, le=1, description="share of images seen with an empty caption")
    ] = 0.1
    min_snr_gamma: Annotated[
        float | None, Meta(description="min-SNR-γ loss weight; null turns it off")
    ] = 5.0
    max_grad_norm: Annotated[float, Meta(gt=0, description="gradient norm is clipped to it")] = 1.0
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1, description="seed of all randomness")] = 0
    checkpoint_every: Annotated[int, Meta(ge=1, description="steps between checkpoints")] = 250


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidateSettings:
    """Thresholds of the dataset checks."""

    min_images: Annotated[int, Meta(ge=1, description="fewer images are an error")] = 5
    min_side: Annotated[int, Meta(ge=1, description="shorter side in pixels; below: error")] = 64
    max_pixels: Annotated[
        int, Meta(ge=1, description="pixels of one image; above: refused undecoded")
    ] = 64_000_000
    max_tokens: Annotated[
        int, Meta(ge=1, description="caption length in tokens; above: warning")
    ] = 75
    near_duplicate_distance: Annotated[
        int, Meta(ge=0, le=256, description="256-bit perceptual hash distance; at or below: pair")
    ] = 40
    near_duplicates: Annotated[
        Literal["error", "warning", "info"], Meta(description="severity of near-duplicates")
    ] = "warning"
    blur: Annotated[
        Literal["error", "warning", "info"], Meta(description="severity of blurred images")
    ] = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class QaSettings:
    """How an adapter is judged."""

    preset: Annotated[
        LoraType | None,
        Meta(description="whose built-in prompts are used; null: those of the LoRA's `type`"),
    ] = None
    references: Annotated[
        str | None,
        Meta(
            description="folder or DVC pointer of held-out reference images",
            examples=["datasets/mei-references"],
        ),
    ] = None
    embedder: Annotated[
        str,
        Meta(
            description="measures likeness: `classic:`, or `path:<folder>` of a CLIP model",
            examples=["classic:", "path:models/clip"],
        ),
    ] = "classic:"
    prompts: Annotated[
        tuple[str, ...],
        Meta(
            description="identity prompts; `{trigger}` is replaced",
            examples=[["{trigger}, portrait"]],
        ),
    ] = ()
    flexibility_prompts: Annotated[
        tuple[str, ...],
        Meta(
            description="prompts that combine the concept with other styles",
            examples=[["{trigger} in the snow"]],
        ),
    ] = ()
    base_prompts: Annotated[
        tuple[str, ...],
        Meta(
            description="prompts without trigger; leakage is what changes on them",
            examples=[["a woman in a park"]],
        ),
    ] = ()
    negative_prompt: Annotated[
        str, Meta(description="negative prompt of all images", examples=["blurry, low quality"])
    ] = ""
    seeds: Annotated[int, Meta(ge=1, le=64, description="seeds a prompt")] = 4
    steps: Annotated[int, Meta(ge=1, le=1000, description="sampler steps")] = 25
    guidance: Annotated[float, Meta(ge=0, le=50, description="classifier-free guidance")] = 7.0
    guidance_rescale: Annotated[float, Meta(ge=0, le=1, description="guidance rescale")] = 0.0
    resolution: Annotated[
        Annotated[int, Meta(ge=8, le=4096)] | None,
        Meta(description="pixels of generated images; null: the base model's own size"),
    ] = None
    weight: Annotated[float, Meta(gt=0, le=2, description="adapter weight judged")] = 1.0
    gates: Annotated[
        dict[str, str],
        Meta(
            description='conditions that must hold, such as `identity: ">= 0.7"`',
            examples=[{"identity": ">= 0.7"}],
        ),
    ] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizeSettings:
    """What is looked for after QA passed."""

    weights: Annotated[
        tuple[float, ...],
        Meta(
            description="adapter weights tried for the recommended one", examples=[[0.6, 0.8, 1.0]]
        ),
    ] = (0.6, 0.8, 1.0, 1.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploySettings:
    """Where tagged adapters are released to."""

    targets: Annotated[
        tuple[str, ...],
        Meta(
            description="release stores: folders, relative to the repository or absolute",
            examples=[["/mnt/releases"]],
        ),
    ] = ()
    channels: Annotated[
        tuple[str, ...],
        Meta(
            description="channels that a release moves, in every target",
            examples=[["latest", "staging"]],
        ),
    ] = ("latest",)
    on: Annotated[
        Literal["tag", "never"], Meta(description="what asks for a release; `never` keeps it back")
    ] = "tag"
    license: Annotated[
        str | None, Meta(description="SPDX id of the adapter's license", examples=["CC-BY-4.0"])
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceSettings:
    """What the steps of a LoRA that need a GPU ask of a machine; changes no result."""

    gpus: Annotated[int, Meta(ge=0, le=64, description="GPUs of such a step")] = 1
    vram_gib: Annotated[
        float, Meta(ge=0, le=1024, description="memory of each GPU, GiB", examples=[12])
    ] = 0.0
    timeout_hours: Annotated[
        float, Meta(gt=0, le=720, description="a step that takes longer is ended")
    ] = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Rules of the repository; always read from the default branch."""

    max_gpu_hours_per_run: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(
            description="a run expected to take more waits for approval; null: no limit",
            examples=[4],
        ),
    ] = None
    max_gpu_hours_per_month: Annotated[
        Annotated[float, Meta(ge=0)] | None,
        Meta(description="GPU-hours of the last 30 days, the run included; null: no limit"),
    ] = None
    forks: Annotated[
        Literal["nothing", "validate", "approve"],
        Meta(
            description="what a foreign push gets: nothing at all, validation only, "
            "or after an approval everything"
        ),
    ] = "approve"
    approvers: Annotated[
        tuple[str, ...],
        Meta(
            description="who may approve, by name at the git host; empty: everybody who may push",
            examples=[["ann", "bob"]],
        ),
    ] = ()
    required_checks: Annotated[
        tuple[str, ...],
        Meta(
            description="checks of the commit that must have passed before anything trains",
            examples=[["lint"]],
        ),
    ] = ()
    licenses: Annotated[
        tuple[str, ...],
        Meta(
            description="SPDX ids that `deploy.license` may have; empty: any",
            examples=[["CC-BY-4.0", "MIT"]],
        ),
    ] = ()


def parse_settings(params: object, kind: type[T]) -> T:
    """Settings of type `kind` from their JSON form; strict. Raises msgspec.ValidationError."""
    return msgspec.convert(params, type=kind, strict=True)


def settings_json(settings: Any) -> dict[str, Any]:
    """The JSON form of a settings value, for `StepSpec.params` and fingerprints."""
    builtins: dict[str, Any] = msgspec.to_builtins(settings)
    return builtins
