"""The config as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from msgspec import Meta

from lora_ci.config.document import Where
from lora_ci.core.finding import Finding
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
from lora_ci.core.shard import Shard

FILE_NAME = ".lora-ci.yml"
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A part of a dataset: a folder in git, or what DVC tracks at the path."""

    path: Annotated[
        str,
        Meta(min_length=1, description="folder of images and captions", examples=["datasets/mei"]),
    ]
    repeats: Annotated[
        int, Meta(ge=1, le=1000, description="how often each image counts in an epoch")
    ] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class HubModel:
    """A base model on the Hugging Face hub, at a commit: a branch would move unseen."""

    hub: Annotated[
        str,
        Meta(
            description="owner/name on the hub",
            examples=["stable-diffusion-v1-5/stable-diffusion-v1-5"],
        ),
    ]
    revision: Annotated[
        str,
        Meta(
            description="full commit id, 40 hexadecimal digits",
            examples=["451f4fe16113bff5a5d2269ed5ad43b0592e9a14"],
        ),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """One adapter that the repository makes, fully resolved; paths are relative to its top.

    `dataset` has at least one source. `variant` are the values that a matrix gave it, by the path
    of the key (`train.rank`), and `variant_of` the name that is written in the config; empty and
    None where there is no matrix. A config has no `shard`: plans make one of a LoRA's training.
    """

    name: str
    dataset: tuple[Source, ...]
    base_model: str | HubModel
    trigger: Annotated[str, Meta(description="the token that calls the concept; default: the name")]
    type: Annotated[LoraType, Meta(description="what the LoRA teaches")] = LoraType.CONCEPT
    train: TrainSettings = field(default_factory=TrainSettings)
    validate: ValidateSettings = field(default_factory=ValidateSettings)
    qa: QaSettings = field(default_factory=QaSettings)
    optimize: OptimizeSettings = field(default_factory=OptimizeSettings)
    deploy: DeploySettings = field(default_factory=DeploySettings)
    resources: ResourceSettings = field(default_factory=ResourceSettings)
    needs: Annotated[
        tuple[str, ...], Meta(description="LoRAs that must have passed before this one trains")
    ] = ()
    variant: Mapping[str, Any] = field(default_factory=dict)
    variant_of: str | None = None
    shard: Shard | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All LoRAs by name, and where each given value stands (`loras.mei.train.rank` → place).

    `notes` are findings that forbid nothing: keys that have no effect in this version.
    """

    loras: Mapping[str, Lora]
    places: Mapping[str, Where]
    policy: Policy = field(default_factory=Policy)
    paths: tuple[str, ...] = ()
    notes: tuple[Finding, ...] = ()

    def where(self, path: str) -> Where:
        """The place of a value, or of the nearest thing above it that was written down."""
        while path and path not in self.places:
            path = path.rpartition(".")[0]
        return self.places.get(path, Where(FILE_NAME))
