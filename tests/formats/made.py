"""Adapters made for tests: random numbers on given shapes."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.formats.family import SD1

Q = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
V = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_v"
BLOCK, SINGLE = "transformer.transformer_blocks.0", "transformer.single_transformer_blocks.3"


def random_adapter(
    shapes: Mapping[str, tuple[int, ...]],
    *,
    rank: int = 2,
    family: str = SD1,
    dora: bool = False,
    seed: int = 1,
    alpha: float = 3.0,
    metadata: Mapping[str, str] | None = None,
) -> Adapter:
    """A layer on each weight of `shapes`."""
    draw = torch.Generator().manual_seed(seed)
    layers = {}
    for name, shape in sorted(shapes.items()):
        layers[name] = LoraLayer(
            down=torch.randn((rank, *shape[1:]), generator=draw) * 0.5,
            up=torch.randn((shape[0], rank, *[1] * (len(shape) - 2)), generator=draw) * 0.5,
            alpha=alpha,
            magnitude=torch.rand(shape[0], generator=draw) + 0.5 if dora else None,
        )
    return Adapter(layers=layers, family=family, metadata=metadata or {})


def small(**changes) -> Adapter:
    """Two layers of a small SD 1.x UNet."""
    return random_adapter({Q: (6, 4), V: (6, 8)}, **changes)


def flux_attention(names=("to_q", "to_k", "to_v"), **changes) -> Adapter:
    """The attention of a double block and the fused matrix of a single one."""
    shapes = {f"{BLOCK}.attn.{name}": (8, 8) for name in names}
    shapes |= {f"{SINGLE}.attn.{name}": (8, 8) for name in names}
    return random_adapter({**shapes, f"{SINGLE}.proj_mlp": (32, 8)}, family="flux", **changes)
