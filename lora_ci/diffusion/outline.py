"""The shapes of a base model's weights, from its configs alone: no weight is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import CLIPTextConfig

from lora_ci.diffusion.families import Family
from lora_ci.diffusion.load import check_folder, taught_modules
from lora_ci.diffusion.parts import model_class, told_simply


def base_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """As `BaseModel.shapes()` of the model in `folder`, in no memory to speak of.

    Raises:
        InputError: no base model in diffusers format, or one whose configs build none.
    """
    family = check_folder(folder)
    with torch.device("meta"):
        models = {
            name: _outline(folder, family, name) for name in (family.denoiser, *family.taught_texts)
        }
    return {name: tuple(module.weight.shape) for name, module in taught_modules(family, models)}


def _outline(folder: Path, family: Family, name: str) -> Any:
    """A part as its config describes it, without values."""
    kind = model_class(family, name)
    with told_simply(folder / name):
        if name in family.taught_texts:
            return kind(
                CLIPTextConfig.from_pretrained(folder, subfolder=name, local_files_only=True)
            )
        config = kind.load_config(folder, subfolder=name, local_files_only=True)
        return kind.from_config(config)
