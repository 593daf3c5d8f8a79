"""The config as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from msgspec import Meta

from lora_ci.config.document import Where
from lora_ci.core.settings import (
    DeploySettings,
    LoraType,
    OptimizeSettings,
    QaSettings,
    TrainSettings,
    ValidateSettings,
)

FILE_NAME = ".lora-ci.yml"
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """One adapter that the repository makes, fully resolved; paths are relative to its top."""

    name: str
    dataset: Annotated[
        str, Meta(description="folder of images and captions, tracked by DVC or by git")
    ]
    base_model: Annotated[
        str, Meta(description="diffusers folder in the repository, tracked by DVC or by git")
    ]
    trigger: Annotated[str, Meta(description="the token that calls the concept; default: the name")]
    type: Annotated[LoraType, Meta(description="what the LoRA teaches")] = LoraType.CONCEPT
    train: TrainSettings = field(default_factory=TrainSettings)
    validate: ValidateSettings = field(default_factory=ValidateSettings)
    qa: QaSettings = field(default_factory=QaSettings)
    optimize: OptimizeSettings = field(default_factory=OptimizeSettings)
    deploy: DeploySettings = field(default_factory=DeploySettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All LoRAs by name, and where each given value stands (`loras.mei.train.rank` → place)."""

    loras: Mapping[str, Lora]
    places: Mapping[str, Where]

    def where(self, path: str) -> Where:
        """The place of a value, or of the nearest thing above it that was written down."""
        while path and path not in self.places:
            path = path.rpartition(".")[0]
        return self.places.get(path, Where(FILE_NAME))
