"""A safetensors file → `Adapter`."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from lora_ci.core.errors import InputError
from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.formats.header import read_safetensors
from lora_ci.formats.keys import base_path, peft_alphas, split_key


def read_adapter(path: Path) -> Adapter:
    """The adapter in a diffusers or kohya file.

    Raises:
        InputError: no safetensors, tensors of another algorithm, or values that are no numbers.
    """
    tensors, metadata = read_safetensors(path)
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        module, part = split_key(key, path.name)
        parts.setdefault(base_path(module), {})[part] = tensor
    if not parts:
        raise InputError(f"{path.name} holds no LoRA layer")
    alphas = peft_alphas(metadata, path.name)
    layers = {
        module: _layer(module, found, alphas.get("unet.lora_alpha"), path.name)
        for module, found in sorted(parts.items())
    }
    return Adapter(layers=layers, metadata=metadata)


def _layer(
    module: str, found: dict[str, torch.Tensor], common_alpha: object, file: str
) -> LoraLayer:
    """A layer from its tensors; without an alpha, the common one or the rank is meant."""
    down, up = found.get("down"), found.get("up")
    if down is None or up is None:
        lacking = "down" if down is None else "up"
        raise InputError(f"{file}: layer {module} has no `{lacking}` tensor")
    if down.ndim < 2 or up.ndim < 2 or down.shape[0] != up.shape[1]:
        shapes = f"{tuple(down.shape)} and {tuple(up.shape)}"
        raise InputError(f"{file}: layer {module}: shapes {shapes} do not fit together")
    alpha = float(down.shape[0])
    if "alpha" in found:
        alpha = float(found["alpha"])
    elif isinstance(common_alpha, (int, float)):
        alpha = float(common_alpha)
    if not (down.isfinite().all() and up.isfinite().all() and math.isfinite(alpha)):
        raise InputError(f"{file}: layer {module} holds NaN or infinite values")
    return LoraLayer(down=down, up=up, alpha=alpha)
