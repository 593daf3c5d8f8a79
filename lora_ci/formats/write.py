"""`Adapter` → a diffusers or kohya file: equal content gives equal bytes."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import torch

from lora_ci.core.errors import InfrastructureError
from lora_ci.formats.adapter import Adapter
from lora_ci.formats.header import safetensors_bytes
from lora_ci.formats.keys import kohya_module
from lora_ci.formats.read import read_adapter

MIN_COSINE = 0.999
MAX_NORM_ERROR = 0.01


class Format(StrEnum):
    """The formats that tools read: diffusers itself; kohya for ComfyUI and A1111."""

    DIFFUSERS = "diffusers"
    KOHYA = "kohya"


def write_adapter(adapter: Adapter, path: Path, kind: Format) -> None:
    """Writes the file, reads it back and compares the effect of every layer.

    Raises:
        InfrastructureError: the file would not do what the adapter does.
    """
    tensors = diffusers_tensors(adapter) if kind is Format.DIFFUSERS else kohya_tensors(adapter)
    path.write_bytes(safetensors_bytes(tensors, adapter.metadata))
    check_effect(adapter, read_adapter(path), path.name)


def diffusers_tensors(adapter: Adapter) -> dict[str, torch.Tensor]:
    """diffusers' names. It assumes alpha = rank, so alpha / rank is baked into `up`."""
    tensors = {}
    for module, layer in adapter.layers.items():
        tensors[f"{module}.lora_A.weight"] = layer.down
        tensors[f"{module}.lora_B.weight"] = layer.up * layer.scale
    return tensors


def kohya_tensors(adapter: Adapter) -> dict[str, torch.Tensor]:
    """kohya's names, with alpha as a tensor of its own."""
    tensors = {}
    for module, layer in adapter.layers.items():
        name = kohya_module(module)
        tensors[f"{name}.lora_down.weight"] = layer.down
        tensors[f"{name}.lora_up.weight"] = layer.up
        tensors[f"{name}.alpha"] = torch.tensor(float(layer.alpha))
    return tensors


def check_effect(wanted: Adapter, found: Adapter, file: str) -> None:
    """Compares ΔW layer by layer: direction within 0.999, size within 1 %."""
    if set(wanted.layers) != set(found.layers):
        odd = sorted(set(wanted.layers) ^ set(found.layers))[0]
        raise InfrastructureError(f"{file}: layer {odd} did not survive the export")
    for name, layer in wanted.layers.items():
        a, b = layer.delta().double().flatten(), found.layers[name].delta().double().flatten()
        size_a, size_b = float(a.norm()), float(b.norm())
        if size_a == size_b == 0:
            continue
        cosine = float(a @ b) / (size_a * size_b) if size_a and size_b else 0.0
        ratio = size_b / size_a if size_a else float("inf")
        if cosine < MIN_COSINE or abs(ratio - 1) > MAX_NORM_ERROR:
            message = f"{file}: layer {name} changed (cosine {cosine:.4f}, size ×{ratio:.3f})"
            raise InfrastructureError(message)
