"""A safetensors file → `Adapter`; nothing in it is believed."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path

import torch

from lora_ci.core.errors import InputError
from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.formats.family import detect_family
from lora_ci.formats.fuse import split_fused
from lora_ci.formats.header import read_safetensors
from lora_ci.formats.keys import base_path, peft_config, split_key

MAX_RANK = 4096
DIVERGED = "next: train it again with a lower learning rate, or fetch it again if it was whole once"


def read_adapter(path: Path) -> Adapter:
    """The adapter in a diffusers or kohya file, LoRA or DoRA, rank-stabilized or not.

    Raises:
        InputError: no safetensors, tensors of another algorithm, or values that are no numbers.
    """
    tensors, metadata = read_safetensors(path)
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        module, part = split_key(key, path.name)
        if part in parts.setdefault(module, {}):
            raise InputError(f"{path.name}: layer {module} has two `{part}` tensors")
        parts[module][part] = tensor
    if not parts:
        raise InputError(f"{path.name} holds no LoRA layer")
    config = peft_config(metadata, path.name)
    found = {
        module: _layer(of, f"{path.name}: layer {module[:150]}", module, config)
        for module, of in parts.items()
    }
    layers = dict(sorted(split_fused(found, path.name).items()))
    widths = {module: int(layer.down.shape[1]) for module, layer in layers.items()}
    return Adapter(
        layers=layers, family=detect_family(tensors, widths, metadata), metadata=metadata
    )


def _layer(
    found: Mapping[str, torch.Tensor], where: str, module: str, config: Mapping[str, object]
) -> LoraLayer:
    """A layer from its tensors; without an alpha, the one of the metadata or the rank is meant."""
    down, up = found.get("down"), found.get("up")
    if down is None or up is None:
        raise InputError(f"{where} has no `{'down' if down is None else 'up'}` tensor")
    fits = down.ndim in (2, 4) and up.ndim == down.ndim and down.shape[0] == up.shape[1]
    # An up tensor with a kernel of its own is no product of two matrices.
    if not fits or up.shape[2:].numel() != 1 or 0 in (*down.shape, *up.shape):
        shapes = f"{tuple(down.shape)} and {tuple(up.shape)}"
        raise InputError(f"{where}: shapes {shapes} do not fit together")
    rank = int(down.shape[0])
    if rank > MAX_RANK:
        raise InputError(f"{where}: rank {rank}, more than {MAX_RANK}")
    if "alpha" in found:
        alpha = found["alpha"].item() if found["alpha"].numel() == 1 else None
    else:
        alpha = _alpha_beside(module, rank, config)
    if alpha is None:
        raise InputError(f"{where}: alpha is not one number")
    magnitude = _magnitude(found, int(up.shape[0]), where)
    tensors = (down, up) if magnitude is None else (down, up, magnitude)
    if not (all(bool(t.isfinite().all()) for t in tensors) and math.isfinite(alpha)):
        raise InputError(f"{where} holds NaN or infinite values", hint=DIVERGED)
    return LoraLayer(down=down, up=up, alpha=alpha, magnitude=magnitude)


def _magnitude(found: Mapping[str, torch.Tensor], outputs: int, where: str) -> torch.Tensor | None:
    """DoRA's sizes of the rows, [outputs]; peft: [out] or [1, out, 1, 1], kohya: [out, 1, …].

    LyCORIS (and OneTrainer) can also learn one size a column, [1, in]: another algorithm, whose
    effect no other format can hold.
    """
    if "dora_scale" in found:
        scale = found["dora_scale"]
        if scale.ndim > 0 and scale.shape[0] == outputs == scale.numel():
            return scale.reshape(-1)
        raise InputError(
            f"{where}: DoRA sizes of shape {tuple(scale.shape)} for {outputs} rows",
            hint="train with the sizes on the output side (LyCORIS: wd_on_output=True)",
        )
    size = found.get("magnitude")
    if size is None:
        return None
    if size.numel() != outputs or max(size.shape, default=0) != outputs:
        raise InputError(f"{where}: {size.numel()} DoRA sizes for {outputs} rows")
    return size.reshape(-1)


def _alpha_beside(module: str, rank: int, config: Mapping[str, object]) -> float | None:
    """The alpha that diffusers' metadata gives a module, else its rank; None if it is no number.

    Rank-stabilized LoRA divides by √rank instead of the rank (arXiv:2312.03732): the same as an
    alpha √rank times as big. LyCORIS writes such an alpha itself.
    """
    component, name = module.split(".", 1)
    alpha = config.get(f"{component}.lora_alpha")
    pattern = config.get(f"{component}.alpha_pattern")
    for key, value in pattern.items() if isinstance(pattern, dict) else ():
        if _names(key, name):
            alpha = value
            break
    if alpha is None:
        return float(rank)
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        return None
    # JSON's whole numbers have no limit, floats have.
    number = float(alpha) if abs(alpha) < 1e30 else math.inf
    return number * math.sqrt(rank) if config.get(f"{component}.use_rslora") else number


def _names(key: str, name: str) -> bool:
    """True if peft means a module by this key of a pattern: its path, or an ending of it.

    Raises InputError for regular expressions: what another library makes of them is not guessed.
    """
    key = key.removeprefix("^")
    if not re.fullmatch(r"[\w.]{1,200}", key):
        raise InputError(f"lora_adapter_metadata: alpha_pattern `{key[:100]}` is no module's name")
    key = base_path(f"text_encoder.{key}").split(".", 1)[1]
    return name == key or name.endswith(f".{key}")
