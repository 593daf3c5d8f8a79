"""`Adapter` → tensors under the names of a file format.

Every layer gets the same rank and alpha: alpha is baked into `up`, lower ranks are padded with
zeros, and neither changes the effect. Loaders scale files of mixed ranks or alphas wrongly
(diffusers keys a kohya file's alphas by names that match no module), and silently.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

import torch
from torch.nn.functional import pad

from lora_ci.core.errors import InputError
from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.formats.family import FLUX
from lora_ci.formats.fuse import fuse_layers
from lora_ci.formats.keys import TEXT, kohya_module, stored_path


class Precision(StrEnum):
    """The type of the numbers in a file; alphas are always float32."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"


TYPES = {
    Precision.FP32: torch.float32,
    Precision.BF16: torch.bfloat16,
    Precision.FP16: torch.float16,
}


def to_diffusers(adapter: Adapter) -> dict[str, torch.Tensor]:
    """diffusers' (peft) names; without an alpha the loader takes the rank, which it is.

    Raises InputError for DoRA on some layers only: the loader would make DoRA of all.
    """
    plain = [path for path, layer in adapter.layers.items() if layer.magnitude is None]
    if adapter.decomposed and plain:
        raise InputError(
            f"{len(plain)} of {len(adapter.layers)} layers are no DoRA, such as {plain[0]}; "
            "diffusers would read all as DoRA",
            hint="next: write the kohya format instead",
        )
    tensors = {}
    for module, layer in _uniform(adapter).items():
        name = stored_path(module)
        tensors[f"{name}.lora_A.weight"] = layer.down
        tensors[f"{name}.lora_B.weight"] = layer.up
        if layer.magnitude is not None:
            # peft keeps the sizes of a convolution's rows on the second axis.
            shape = (-1,) if layer.up.ndim == 2 else (1, -1, 1, 1)
            # transformers, which loads the text encoders, does not add the last word as peft does.
            last = ".weight" if name.startswith(TEXT) else ""
            tensors[f"{name}.lora_magnitude_vector{last}"] = layer.magnitude.reshape(shape)
    return tensors


def to_kohya(adapter: Adapter) -> dict[str, torch.Tensor]:
    """kohya's names, as ComfyUI, A1111 and sd-scripts read them.

    Raises InputError for a module that these tools have no name for.
    """
    layers = _uniform(adapter)
    if adapter.family == FLUX:
        layers = fuse_layers(layers)
    tensors = {}
    for module, layer in layers.items():
        name = kohya_module(module, adapter.family)
        if name is None:
            raise InputError(
                f"kohya's files have no name for `{module[:150]}` of {adapter.family}",
                hint="next: write the diffusers format instead",
            )
        tensors[f"{name}.lora_down.weight"] = layer.down
        tensors[f"{name}.lora_up.weight"] = layer.up
        tensors[f"{name}.alpha"] = torch.tensor(layer.alpha)
        if layer.magnitude is not None:
            tensors[f"{name}.dora_scale"] = layer.magnitude.reshape(-1, *[1] * (layer.up.ndim - 1))
    return tensors


def cast(tensors: dict[str, torch.Tensor], precision: Precision) -> dict[str, torch.Tensor]:
    """The tensors in another type, alphas as they are. Raises InputError for what overflows."""
    dtype = TYPES[precision]
    if dtype is torch.float32:
        return tensors
    done = {k: t if k.endswith(".alpha") else t.to(dtype) for k, t in tensors.items()}
    for key, tensor in done.items():
        if not tensor.isfinite().all():
            biggest = float(tensors[key].abs().max())
            raise InputError(
                f"`{key[:150]}` holds {biggest:.3g}, which {precision} cannot",
                hint="next: --dtype bf16, or fp32",
            )
    return done


def _uniform(adapter: Adapter) -> dict[str, LoraLayer]:
    if not adapter.layers:
        raise InputError("the adapter has no layer: there is nothing to write")
    rank = max(adapter.ranks())
    return {module: _with_rank(_bake(layer), rank) for module, layer in adapter.layers.items()}


def _bake(layer: LoraLayer) -> LoraLayer:
    return replace(layer, up=layer.up * layer.scale, alpha=float(layer.rank))


def _with_rank(layer: LoraLayer, rank: int) -> LoraLayer:
    """The same update with zero directions added; expects alpha = rank."""
    extra = rank - layer.rank
    if extra == 0:
        return layer
    sides = (0, 0) * (layer.down.ndim - 2)
    return replace(
        layer,
        down=pad(layer.down, (*sides, 0, 0, 0, extra)),
        up=pad(layer.up, (*sides, 0, extra)),
        alpha=float(rank),
    )
