"""The shapes of a base model's weights, from its configs alone: no weight is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import CLIPTextConfig, CLIPTextModel

from lora_ci.diffusion.families import Family
from lora_ci.diffusion.load import (
    DENOISERS,
    TEXT_ENCODERS,
    BaseModel,
    check_folder,
    read_family,
    told_simply,
)


def base_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """As `BaseModel.shapes()` of the model in `folder`, in no memory to speak of.

    Raises:
        InputError: no base model in diffusers format, or one whose configs build none.
    """
    check_folder(folder)
    family = read_family(folder)
    with torch.device("meta"):
        denoiser = DENOISERS[family.denoiser]
        with told_simply(folder / family.denoiser):
            config = denoiser.load_config(folder, subfolder=family.denoiser, local_files_only=True)
            whole = denoiser.from_config(config)
        texts = {name: _text_encoder(folder, family, name) for name in family.taught_texts}
    outline = BaseModel(
        denoiser=whole,
        vae=None,
        text_encoders=texts,
        tokenizers={},
        scheduler=None,
        folder=folder,
        family=family,
    )
    return outline.shapes()


def _text_encoder(folder: Path, family: Family, name: str) -> Any:
    kind = TEXT_ENCODERS.get((family.name, name), CLIPTextModel)
    with told_simply(folder / name):
        return kind(CLIPTextConfig.from_pretrained(folder, subfolder=name, local_files_only=True))
