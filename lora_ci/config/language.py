"""The language as it is written down, where that is more than the model keeps."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from msgspec import Meta

from lora_ci.config.model import HubModel, Source
from lora_ci.core.settings import (
    DeploySettings,
    LoraType,
    OptimizeSettings,
    Policy,
    QaSettings,
    ResourceSettings,
    TrainSettings,
    ValidateSettings,
)

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
GATE = re.compile(r"(>=|<=|>|<) *-?\d+(\.\d+)?")
REVISION = re.compile(r"[0-9a-f]{40}")
HUB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*")
MAX_LORAS = 5000
MAX_SOURCES = 1000
MAX_VARIANTS = 256

SECTIONS: dict[str, type] = {
    "train": TrainSettings,
    "validate": ValidateSettings,
    "qa": QaSettings,
    "optimize": OptimizeSettings,
    "deploy": DeploySettings,
    "resources": ResourceSettings,
}
# Keys of a LoRA that a matrix may vary beside those of `MATRIX_SECTIONS`.
MATRIX_KEYS = ("base_model", "trigger", "type")
MATRIX_SECTIONS = ("train", "validate", "qa", "optimize")

File = Annotated[str, Meta(min_length=1, description="a TOML or YAML file in the repository")]
Glob = Annotated[str, Meta(min_length=1)]
Url = Annotated[str, Meta(pattern="^[a-z][a-z0-9+.-]*://", examples=["mailto://team@example.org"])]
Occasion = Literal["passed", "failed", "inconclusive", "released", "waiting"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    """How a dataset is made ready. Has no effect in this version."""

    captioner: Annotated[
        str | None, Meta(description="what writes missing captions", examples=["blip-2"])
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    """One receiver of messages. Has no effect in this version."""

    url: Annotated[Url, Meta(description="an Apprise URL")]
    on: Annotated[
        tuple[Occasion, ...], Meta(description="what is told", examples=[["failed", "released"]])
    ] = ("failed", "released")


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """A machine that executes steps. Has no effect in this version."""

    gpus: Annotated[int, Meta(ge=0, le=64, description="GPUs it has")] = 1
    vram_gib: Annotated[float, Meta(ge=0, le=1024, description="memory of each GPU, GiB")] = 0.0
    labels: Annotated[
        tuple[str, ...], Meta(description="names it goes by", examples=[["gpu", "linux"]])
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenLora:
    """A LoRA, or what all have in common."""

    dataset: Annotated[
        str
        | Source
        | Annotated[tuple[str | Source, ...], Meta(min_length=1, max_length=MAX_SOURCES)],
        Meta(
            description="folder of images and captions, tracked by DVC or by git; "
            "several of them; or kohya's dataset file (`.toml`)",
            examples=["datasets/mei", [{"path": "datasets/mei", "repeats": 10}]],
        ),
    ]
    base_model: Annotated[
        str | HubModel,
        Meta(
            description="diffusers folder in the repository, tracked by DVC or by git; "
            "or a model on the hub at a commit",
            examples=["models/sd15"],
        ),
    ]
    trigger: Annotated[
        str,
        Meta(
            min_length=1,
            description="the token that calls the concept; default: the name",
            examples=["mei"],
        ),
    ] = ""
    type: Annotated[LoraType, Meta(description="what the LoRA teaches")] = LoraType.CONCEPT
    needs: Annotated[
        tuple[str, ...],
        Meta(
            description="LoRAs that must have passed before this one trains", examples=[["style"]]
        ),
    ] = ()
    matrix: Annotated[
        dict[str, Annotated[list[Any], Meta(min_length=1, max_length=MAX_VARIANTS)]],
        Meta(
            description="values to try, by the path of the key; one LoRA for each combination",
            examples=[{"train.rank": [8, 16]}],
        ),
    ] = field(default_factory=dict)
    prepare: Annotated[
        Prepare | None,
        Meta(description="how the dataset is made ready; has no effect in this version"),
    ] = None
    train: TrainSettings | File | None = None
    validate: ValidateSettings | File | None = None
    qa: QaSettings | File | None = None
    optimize: OptimizeSettings | File | None = None
    deploy: DeploySettings | File | None = None
    resources: ResourceSettings | File | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenConfig:
    """The file `.lora-ci.yml`."""

    version: Annotated[int, Meta(description="version of the config language")]
    loras: Annotated[
        dict[str, WrittenLora | None],
        Meta(description="the adapters this repository makes, by name", max_length=MAX_LORAS),
    ]
    defaults: Annotated[WrittenLora | None, Meta(description="merged under every LoRA")] = None
    policy: Annotated[
        Policy | None, Meta(description="rules; always those of the default branch")
    ] = None
    paths: Annotated[
        tuple[Glob, ...],
        Meta(
            description="globs; a push that changes nothing below them is not looked at",
            examples=[["datasets/**", "configs/*.toml"]],
        ),
    ] = ()
    notify: Annotated[
        tuple[Url | Notify, ...],
        Meta(description="who is told what happened; has no effect in this version"),
    ] = ()
    runners: Annotated[
        dict[str, Runner | None] | None,
        Meta(description="machines by name; has no effect in this version"),
    ] = None
