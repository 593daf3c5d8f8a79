"""An adapter as a value, whatever file it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoraLayer:
    """One low-rank update, `ΔW = alpha / rank · up @ down` (arXiv:2106.09685, section 4.1).

    Shapes: down [rank, in] or [rank, in, kh, kw]; up [out, rank] or [out, rank, 1, 1]; float32.
    """

    down: torch.Tensor
    up: torch.Tensor
    alpha: float

    @property
    def rank(self) -> int:
        """The inner dimension."""
        return int(self.down.shape[0])

    @property
    def scale(self) -> float:
        """`alpha / rank`."""
        return self.alpha / self.rank

    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weight that the update is added to."""
        return (int(self.up.shape[0]), *(int(n) for n in self.down.shape[1:]))

    def delta(self) -> torch.Tensor:
        """ΔW in the shape of the weight, float32."""
        product = self.up.flatten(1) @ self.down.flatten(1)
        return (self.scale * product).reshape(self.weight_shape())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adapter:
    """Layers by module path (`unet.down_blocks.0…to_q`, `text_encoder.encoder…`), sorted."""

    layers: Mapping[str, LoraLayer]
    family: str = "sd15-like"
    metadata: Mapping[str, str] = field(default_factory=dict)

    def ranks(self) -> tuple[int, ...]:
        """The ranks that occur, ascending."""
        return tuple(sorted({layer.rank for layer in self.layers.values()}))
