"""`Adapter` → tensors under the names of a file format.

Every layer gets the same rank and alpha: alpha is baked into `up`, lower ranks are padded with
zeros, and neither changes the effect. Loaders scale files of mixed ranks or alphas wrongly
(diffusers keys a kohya file's alphas by names that match no module), and silently.
"""

from __future__ import annotations

import torch
from torch.nn.functional import pad

from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.formats.keys import kohya_module


def to_diffusers(adapter: Adapter) -> dict[str, torch.Tensor]:
    """diffusers' (peft) names; without an alpha the loader takes the rank, which it is."""
    tensors = {}
    for module, layer in _uniform(adapter).items():
        tensors[f"{module}.lora_A.weight"] = layer.down
        tensors[f"{module}.lora_B.weight"] = layer.up
    return tensors


def to_kohya(adapter: Adapter) -> dict[str, torch.Tensor]:
    """kohya's names, as ComfyUI, A1111 and sd-scripts read them."""
    tensors = {}
    for module, layer in _uniform(adapter).items():
        name = kohya_module(module)
        tensors[f"{name}.lora_down.weight"] = layer.down
        tensors[f"{name}.lora_up.weight"] = layer.up
        tensors[f"{name}.alpha"] = torch.tensor(layer.alpha)
    return tensors


def _uniform(adapter: Adapter) -> dict[str, LoraLayer]:
    rank = max(adapter.ranks())
    return {module: _with_rank(_bake(layer), rank) for module, layer in adapter.layers.items()}


def _bake(layer: LoraLayer) -> LoraLayer:
    return LoraLayer(down=layer.down, up=layer.up * layer.scale, alpha=float(layer.rank))


def _with_rank(layer: LoraLayer, rank: int) -> LoraLayer:
    """The same update with zero directions added; expects alpha = rank."""
    extra = rank - layer.rank
    if extra == 0:
        return layer
    sides = (0, 0) * (layer.down.ndim - 2)
    return LoraLayer(
        down=pad(layer.down, (*sides, 0, 0, 0, extra)),
        up=pad(layer.up, (*sides, 0, extra)),
        alpha=float(rank),
    )
