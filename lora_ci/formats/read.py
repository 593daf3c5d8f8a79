"""A safetensors file → `Adapter`; nothing in it is believed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch

from lora_ci.core.errors import InputError
from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.formats.header import read_safetensors
from lora_ci.formats.keys import base_path, peft_alphas, split_key

MAX_RANK = 4096


def read_adapter(path: Path) -> Adapter:
    """The adapter in a diffusers or kohya file.

    Raises:
        InputError: no safetensors, tensors of another algorithm, or values that are no numbers.
    """
    tensors, metadata = read_safetensors(path)
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        module, part = split_key(key, path.name)
        module = base_path(module)
        if part in parts.setdefault(module, {}):
            raise InputError(f"{path.name}: layer {module} has two `{part}` tensors")
        parts[module][part] = tensor
    if not parts:
        raise InputError(f"{path.name} holds no LoRA layer")
    alphas = peft_alphas(metadata, path.name)
    layers = {
        module: _layer(found, f"{path.name}: layer {module[:150]}", _alpha_beside(module, alphas))
        for module, found in sorted(parts.items())
    }
    return Adapter(layers=layers, metadata=metadata)


def _layer(found: Mapping[str, torch.Tensor], where: str, beside: object) -> LoraLayer:
    """A layer from its tensors; without an alpha, the one of the metadata or the rank is meant."""
    down, up = found.get("down"), found.get("up")
    if down is None or up is None:
        raise InputError(f"{where} has no `{'down' if down is None else 'up'}` tensor")
    fits = down.ndim in (2, 4) and up.ndim == down.ndim and down.shape[0] == up.shape[1]
    # An up tensor with a kernel of its own is no product of two matrices.
    if not fits or up.shape[2:].numel() != 1 or 0 in (*down.shape, *up.shape):
        shapes = f"{tuple(down.shape)} and {tuple(up.shape)}"
        raise InputError(f"{where}: shapes {shapes} do not fit together")
    if down.shape[0] > MAX_RANK:
        raise InputError(f"{where}: rank {down.shape[0]}, more than {MAX_RANK}")
    alpha = beside if beside is not None else down.shape[0]
    if "alpha" in found:
        alpha = found["alpha"].item() if found["alpha"].numel() == 1 else None
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise InputError(f"{where}: alpha is not one number")
    if not (down.isfinite().all() and up.isfinite().all() and math.isfinite(alpha)):
        raise InputError(f"{where} holds NaN or infinite values")
    return LoraLayer(down=down, up=up, alpha=float(alpha))


def _alpha_beside(module: str, alphas: Mapping[str, object]) -> object:
    """The alpha that diffusers' metadata gives a module, or None.

    rslora divides by √rank instead of the rank: no such file is read, rather than mis-scaled.
    """
    component, name = module.split(".", 1)
    if alphas.get(f"{component}.use_rslora"):
        raise InputError("rank-stabilized LoRA (rslora) cannot be read", hint="export plain LoRA")
    pattern = alphas.get(f"{component}.alpha_pattern")
    if isinstance(pattern, dict) and name in pattern:
        return pattern[name]
    return alphas.get(f"{component}.lora_alpha")
