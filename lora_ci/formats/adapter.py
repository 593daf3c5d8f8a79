"""An adapter as a value, whatever file it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from lora_ci.formats.family import SD1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoraLayer:
    """One low-rank update, `ΔW = alpha / rank · up @ down` (arXiv:2106.09685, section 4.1).

    With a `magnitude` it is DoRA's (arXiv:2402.09353): the sizes of the weight's rows are learned
    apart from their directions, one number for each output.

    Shapes: down [rank, in] or [rank, in, kh, kw]; up [out, rank] or [out, rank, 1, 1];
    magnitude [out]; float32.
    """

    down: torch.Tensor
    up: torch.Tensor
    alpha: float
    magnitude: torch.Tensor | None = None

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
        """ΔW in the shape of the weight, float32; of DoRA, the update before it is scaled."""
        product = self.up.flatten(1) @ self.down.flatten(1)
        return (self.scale * product).reshape(self.weight_shape())

    def change(self, weight: torch.Tensor) -> torch.Tensor:
        """How far the layer moves a weight at full strength, on its device and in its type.

        DoRA moves it to `magnitude · (W + ΔW) / ‖W + ΔW‖`, the norm over all but the first axis;
        `strength · change` goes part of the way (ComfyUI's way; peft scales ΔW inside the norm
        instead, which is the same at strength 1 and is not the base at strength 0).

        Source: arXiv:2402.09353, equation 5.
        """
        up, down = self.up.flatten(1).to(weight), self.down.flatten(1).to(weight)
        delta = (self.scale * (up @ down)).reshape(self.weight_shape())
        if self.magnitude is None:
            return delta
        moved = weight + delta
        norm = moved.flatten(1).norm(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
        rows = (self.magnitude.to(weight) / norm).reshape(-1, *[1] * (weight.ndim - 1))
        return rows * moved - weight


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adapter:
    """Layers by module path (`unet.down_blocks.0…to_q`, `text_encoder.encoder…`), sorted.

    `family` is the base models' it is for: `sd1`, `sd2`, `sdxl` or `flux`.
    """

    layers: Mapping[str, LoraLayer]
    family: str = SD1
    metadata: Mapping[str, str] = field(default_factory=dict)

    def ranks(self) -> tuple[int, ...]:
        """The ranks that occur, ascending."""
        return tuple(sorted({layer.rank for layer in self.layers.values()}))

    @property
    def decomposed(self) -> bool:
        """True if any layer is DoRA's."""
        return any(layer.magnitude is not None for layer in self.layers.values())
