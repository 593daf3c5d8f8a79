"""What a user can set, per stage: the values that cross from the config to the steps.

These dataclasses are the single source of the config language: the JSON Schema is generated from
them (names, types, ranges, descriptions), and a step parses its `params` back into them.
"""

from __future__ import annotations

import math
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


# Of a setting that changes how a training runs, not what comes out: it enters no fingerprint.
NO_RESULT: dict[str, Any] = {"result": False}
DEFAULT_IMAGES_SEEN = 4000
MOST_SHARDS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """How an adapter is trained. At most one of `images_seen`, `epochs` and `steps` is given."""

    backend: Annotated[
        Literal["native", "sd-scripts", "ai-toolkit", "command"],
        Meta(description="what trains: lora-ci itself, or another trainer as a process"),
    ] = "native"
    backend_version: Annotated[
        str | None,
        Meta(description="version or commit that another trainer must have; null: any"),
    ] = None
    backend_folder: Annotated[
        str | None,
        Meta(
            description="where another trainer lies on the machine that trains",
            examples=["/opt/sd-scripts"],
            extra=NO_RESULT,
        ),
    ] = None
    backend_arguments: Annotated[
        dict[str, bool | int | float | str],
        Meta(description="further options of another trainer, by their own names"),
    ] = field(default_factory=dict)
    command: Annotated[
        tuple[str, ...],
        Meta(
            description="program and arguments of the backend `command`",
            examples=[["python", "train.py", "{config}"]],
        ),
    ] = ()
    method: Annotated[
        Literal["lora", "dora"], Meta(description="DoRA learns the size of each weight apart")
    ] = "lora"
    rank: Annotated[int, Meta(ge=1, le=1024, description="LoRA rank", examples=[8, 16, 32])] = 16
    alpha: Annotated[float, Meta(gt=0, description="LoRA alpha; scale is alpha / rank")] = 16.0
    rank_stabilized: Annotated[bool, Meta(description="rsLoRA: the scale is alpha / √rank")] = False
    ranks: Annotated[
        dict[str, Annotated[int, Meta(ge=1, le=1024)]],
        Meta(
            description="ranks of modules whose path contains the key",
            examples=[{"attn2": 32, "mid_block": 8}],
        ),
    ] = field(default_factory=dict)
    alphas: Annotated[
        dict[str, Annotated[float, Meta(gt=0)]],
        Meta(description="alphas of modules whose path contains the key"),
    ] = field(default_factory=dict)
    modules: Annotated[
        tuple[str, ...],
        Meta(
            min_length=1,
            description="what is taught: `attention`, `feed-forward`, `convolution`, "
            "or endings of module paths",
            examples=[["attention", "feed-forward"]],
        ),
    ] = ("attention",)
    text_encoder: Annotated[
        bool, Meta(description="teach the attention of the CLIP text encoders too")
    ] = False
    text_encoder_learning_rate: Annotated[
        Annotated[float, Meta(gt=0, le=10)] | None,
        Meta(description="learning rate of the text encoders; null: that of the rest"),
    ] = None
    learning_rate: Annotated[
        float,
        Meta(
            gt=0,
            le=10,
            description="peak learning rate; Prodigy finds its own and does not use it",
            examples=[0.0001],
        ),
    ] = 1e-4
    optimizer: Annotated[
        Literal["adamw", "adamw8bit", "prodigy", "schedule-free-adamw", "adafactor"],
        Meta(description="optimizer"),
    ] = "adamw"
    weight_decay: Annotated[float, Meta(ge=0, description="decoupled weight decay")] = 0.01
    schedule: Annotated[
        Literal["constant", "cosine", "cosine-with-restarts", "linear"],
        Meta(description="learning-rate schedule; schedule-free AdamW needs none and uses none"),
    ] = "cosine"
    restarts: Annotated[
        int, Meta(ge=1, le=1000, description="cycles of `cosine-with-restarts`")
    ] = 1
    warmup_steps: Annotated[int, Meta(ge=0, description="linear warm-up, in steps")] = 0
    batch_size: Annotated[
        int, Meta(ge=1, le=4096, description="images a step, of all GPUs together")
    ] = 4
    gradient_accumulation: Annotated[
        int,
        Meta(
            ge=1,
            le=4096,
            description="parts in which a batch is computed: less memory, the same step",
            extra=NO_RESULT,
        ),
    ] = 1
    gradient_checkpointing: Annotated[
        bool,
        Meta(description="compute activations twice: less memory, slower", extra=NO_RESULT),
    ] = False
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        Meta(
            description="of the base; the adapter is always fp32. `auto`: bf16 on a GPU that has "
            "it, fp16 on one that has not, fp32 on a CPU"
        ),
    ] = "auto"
    compile: Annotated[
        bool, Meta(description="torch.compile: a slow start, faster steps", extra=NO_RESULT)
    ] = False
    images_seen: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(
            description="training budget in images; null, and neither `epochs` nor `steps`: 4000",
            examples=[4000],
        ),
    ] = None
    epochs: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="training budget in passes over the dataset", examples=[10]),
    ] = None
    steps: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="training budget in steps", examples=[1000]),
    ] = None
    shards: Annotated[
        int,
        Meta(
            ge=1,
            le=MOST_SHARDS,
            description="parts of the dataset that are trained apart, side by side, and merged "
            "exactly; the budget is shared, the ranks add up",
            examples=[3],
        ),
    ] = 1
    resolution: Annotated[
        int, Meta(ge=8, le=4096, description="pixels; side of a square", examples=[512, 1024])
    ] = 512
    buckets: Annotated[
        bool,
        Meta(description="pictures keep about their shape; false: all become squares"),
    ] = True
    bucket_step: Annotated[
        int, Meta(ge=8, le=512, description="sides of buckets are multiples of it")
    ] = 64
    crop: Annotated[
        Literal["center", "random"], Meta(description="what is cut off where shapes differ")
    ] = "center"
    flip: Annotated[bool, Meta(description="mirror half of the images seen")] = False
    caption_dropout: Annotated[
        float, Meta(ge=0, le=1, description="share of images seen with an empty caption")
    ] = 0.1
    shuffle_captions: Annotated[
        bool, Meta(description="shuffle the parts of captions between commas")
    ] = False
    keep_tags: Annotated[
        int,
        Meta(ge=0, description="first parts of a caption that stay; the trigger always stays"),
    ] = 1
    regularization: Annotated[
        str | None,
        Meta(
            description="folder or DVC pointer of images that keep the base's idea of the class",
            examples=["datasets/women"],
        ),
    ] = None
    prior_weight: Annotated[
        float, Meta(ge=0, le=10, description="loss weight of regularization images")
    ] = 1.0
    min_snr_gamma: Annotated[
        Annotated[float, Meta(gt=0)] | None,
        Meta(description="min-SNR-γ loss weight; null turns it off"),
    ] = 5.0
    noise_offset: Annotated[
        float, Meta(ge=0, le=1, description="share of noise that is one value a channel")
    ] = 0.0
    max_grad_norm: Annotated[float, Meta(gt=0, description="gradient norm is clipped to it")] = 1.0
    ema_decay: Annotated[
        Annotated[float, Meta(gt=0, lt=1)] | None,
        Meta(description="the adapter is a running mean of the weights; null: the last ones"),
    ] = None
    validation_share: Annotated[
        float, Meta(ge=0, le=0.5, description="share of the pictures held out, to measure loss on")
    ] = 0.0
    validate_every: Annotated[
        int, Meta(ge=1, description="steps between validations", extra=NO_RESULT)
    ] = 100
    sample_prompts: Annotated[
        tuple[str, ...],
        Meta(
            description="prompts of the pictures made while training; `{trigger}` is replaced",
            extra=NO_RESULT,
        ),
    ] = ("{trigger}",)
    sample_every: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="steps between such pictures; null: none", extra=NO_RESULT),
    ] = None
    trackers: Annotated[
        tuple[Literal["tensorboard", "wandb", "mlflow"], ...],
        Meta(description="where curves are shown live", extra=NO_RESULT),
    ] = ("tensorboard",)
    seed: Annotated[int, Meta(ge=0, le=2**32 - 1, description="seed of all randomness")] = 0
    checkpoint_every: Annotated[
        int, Meta(ge=1, description="steps between checkpoints", extra=NO_RESULT)
    ] = 250

    @property
    def in_buckets(self) -> bool:
        """False where all pictures become squares; so they do where one bucket would be all."""
        return self.buckets and self.resolution >= 2 * self.bucket_step

    def total_steps(self, epoch: int) -> int:
        """The budget in steps, where `epoch` images are one pass."""
        if self.steps is not None:
            return self.steps
        images = self.images_seen or DEFAULT_IMAGES_SEEN
        if self.epochs is not None:
            images = self.epochs * epoch
        return math.ceil(images / self.batch_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidateSettings:
    """Thresholds of the dataset checks."""

    min_images: Annotated[int, Meta(ge=1, description="fewer images are an error")] = 5
    min_side: Annotated[int, Meta(ge=1, description="shorter side in pixels; below: error")] = 64
    max_pixels: Annotated[
        int, Meta(ge=1, description="pixels of one image; above: refused undecoded")
    ] = 64_000_000
    max_tokens: Annotated[
        int,
        Meta(
            ge=1,
            description="caption length in tokens, where the base model tells no limit; above: "
            "warning",
        ),
    ] = 75
    constant_words: Annotated[
        float,
        Meta(ge=0, le=1, description="share of captions; words in more of them are told"),
    ] = 0.8
    fuse: Annotated[
        tuple[str, ...],
        Meta(
            description="words and phrases that are meant to become part of the concept",
            examples=[["red scarf"]],
        ),
    ] = ()
    caption_likeness: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="share of words that two captions have in common; from it on: copies",
        ),
    ] = 0.9
    near_duplicate_distance: Annotated[
        int, Meta(ge=0, le=256, description="256-bit perceptual hash distance; at or below: pair")
    ] = 40
    near_duplicates: Annotated[
        Literal["error", "warning", "info"], Meta(description="severity of near-duplicates")
    ] = "warning"
    blur: Annotated[
        Literal["error", "warning", "info"], Meta(description="severity of blurred images")
    ] = "warning"
    max_noise: Annotated[
        float, Meta(ge=0, description="standard deviation in levels of 255; above: warning")
    ] = 7.0
    max_blockiness: Annotated[
        float,
        Meta(ge=1, description="how strong JPEG's blocks stand out; above: warning"),
    ] = 1.7
    min_highlight: Annotated[
        float, Meta(ge=0, le=255, description="99th percentile of brightness; below: warning")
    ] = 64.0
    max_washed: Annotated[
        float, Meta(ge=0, le=1, description="share of pixels without light left; above: warning")
    ] = 0.1
    max_border: Annotated[
        float, Meta(ge=0, le=1, description="share of the area under bars; above: warning")
    ] = 0.02
    resolution: Annotated[
        Annotated[int, Meta(ge=64)] | None,
        Meta(
            description="side that pictures are trained at; those that would be enlarged or cut "
            "much are told",
            examples=[1024],
        ),
    ] = None
    antivirus: Annotated[
        Literal["required", "if-available", "off"],
        Meta(
            description="files are shown to the ClamAV that `LORA_CI_CLAMD` of the machine names; "
            "`required`: without one nothing is validated"
        ),
    ] = "if-available"
    yara: Annotated[
        str | None,
        Meta(
            description="YARA rules for files: a file, or a folder of `.yar` and `.yara` files",
            examples=["rules"],
        ),
    ] = None
    content: Annotated[
        str | None,
        Meta(
            description="scans what pictures show: `onnx:<file>`, `path:<folder>`, "
            "`hf:<name>@<commit>` or `exec:<command>`",
            examples=["onnx:models/nsfw.onnx"],
        ),
    ] = None
    content_policy: Annotated[
        Literal["block", "review", "off"],
        Meta(description="what a flagged picture is: an error, or something a person must look at"),
    ] = "block"
    content_limits: Annotated[
        dict[str, Annotated[float, Meta(ge=0, le=1)]],
        Meta(
            description="labels that count, and how sure the scanner must be; none: all from 0.5",
            examples=[{"nsfw": 0.7}],
        ),
    ] = field(default_factory=dict)
    reviewed: Annotated[
        tuple[Annotated[str, Meta(pattern="^[0-9a-f]{64}$")], ...],
        Meta(
            description="sha256 of pictures that a person looked at: `review` flags them no more",
            examples=[["0" * 64]],
        ),
    ] = ()
    consent: Annotated[
        Literal["required", "off"],
        Meta(
            description="`required`: pictures of people need a datasheet.yml that tells of consent"
        ),
    ] = "off"

    @property
    def scanner(self) -> str | None:
        """The spec of what scans pictures, if any does."""
        return None if self.content_policy == "off" else self.content


# Of each kind: a judgement draws every one of them, several times.
MAX_PROMPTS = 500


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
            description="measures likeness: `classic:`, `path:<folder>`, `hf:<name>@<commit>`, "
            "`onnx:<file>`, `torchscript:<file>` or `exec:<command>`",
            examples=["classic:", "path:models/clip"],
        ),
    ] = "classic:"
    embedder_license: Annotated[
        str | None,
        Meta(
            description="SPDX id of the embedder's license; null: what the model's card says",
            examples=["MIT"],
        ),
    ] = None
    license_policy: Annotated[
        Literal["any", "commercial"],
        Meta(description="`commercial` refuses embedders whose license is not known to allow it"),
    ] = "any"
    prompts: Annotated[
        tuple[str, ...],
        Meta(
            description="identity prompts; `{trigger}` is replaced",
            examples=[["{trigger}, portrait"]],
            max_length=MAX_PROMPTS,
        ),
    ] = ()
    flexibility_prompts: Annotated[
        tuple[str, ...],
        Meta(
            description="prompts that combine the concept with other styles",
            examples=[["{trigger} in the snow"]],
            max_length=MAX_PROMPTS,
        ),
    ] = ()
    base_prompts: Annotated[
        tuple[str, ...],
        Meta(
            description="prompts without trigger; leakage is what changes on them",
            examples=[["a woman in a park"]],
            max_length=MAX_PROMPTS,
        ),
    ] = ()
    negative_prompt: Annotated[
        str, Meta(description="negative prompt of all images", examples=["blurry, low quality"])
    ] = ""
    seeds: Annotated[int, Meta(ge=1, le=64, description="seeds a prompt")] = 4
    steps: Annotated[int, Meta(ge=1, le=1000, description="sampler steps")] = 25
    guidance: Annotated[
        Annotated[float, Meta(ge=0, le=50)] | None,
        Meta(description="classifier-free guidance; null: that of the base model's family"),
    ] = None
    guidance_rescale: Annotated[float, Meta(ge=0, le=1, description="guidance rescale")] = 0.0
    resolution: Annotated[
        Annotated[int, Meta(ge=8, le=4096)] | None,
        Meta(description="pixels of generated images; null: the base model's own size"),
    ] = None
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        Meta(
            description="of the base while it makes pictures. `auto`: bf16 on a GPU that has it, "
            "fp16 on one that has not, fp32 on a CPU"
        ),
    ] = "auto"
    weight: Annotated[float, Meta(gt=0, le=1.5, description="adapter weight judged")] = 1.0
    strengths: Annotated[
        tuple[Annotated[float, Meta(gt=0, le=1.5)], ...],
        Meta(description="adapter weights of the test `strength`", examples=[[0.5, 1.0]]),
    ] = (0.4, 0.6, 0.8, 1.0, 1.2)
    compose_with: Annotated[
        str | None,
        Meta(
            description="file or DVC pointer of a second adapter that must work beside this one",
            examples=["adapters/ink.safetensors"],
        ),
    ] = None
    safety: Annotated[
        str | None,
        Meta(
            description="`exec:<command>` that scans the pictures; null: they are not scanned",
            examples=["exec:python scan.py"],
        ),
    ] = None
    skip: Annotated[
        tuple[
            Literal[
                "variety",
                "leakage",
                "strength",
                "memorization",
                "composability",
                "regression",
                "following",
                "loss-gap",
                "safety",
                "base-look",
            ],
            ...,
        ],
        Meta(description="tests that are not made; a gate on what they measure does not pass"),
    ] = ()
    error: Annotated[
        float,
        Meta(
            ge=0.001,
            le=0.2,
            description="chance, at most, that luck passes an adapter which a gate should stop; "
            "and the chance that it fails a sound one",
        ),
    ] = 0.05
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
        tuple[Annotated[float, Meta(gt=0, le=1.5)], ...],
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

    gpus: Annotated[int, Meta(ge=0, le=64, description="GPUs of such a step, on each machine")] = 1
    nodes: Annotated[
        int,
        Meta(ge=1, le=64, description="machines that a training is spread over (`ray`, `slurm`)"),
    ] = 1
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
    commands: Annotated[
        bool,
        Meta(
            description="a config may name programs: `train.backend` other than `native`, "
            "`qa.embedder` of `exec:` or `torchscript:`, `qa.safety`, `validate.content` of "
            "`exec:`; they run with all rights of the runner"
        ),
    ] = False
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
