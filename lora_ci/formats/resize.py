"""An adapter of lower rank: the best one there is, layer by layer, and how far off it is.

The matrix of a weight's size is never made. With `up = Q₁R₁` and `downᵀ = Q₂R₂`, the singular
values of `up @ down` are those of the small `R₁R₂ᵀ`, and its singular vectors are turned into the
big ones' by Q₁ and Q₂.
Source: Halko, Martinsson, Tropp, arXiv:0909.4061, section 5.1 (QR, then a small SVD).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from lora_ci.core.errors import InputError, UsageError
from lora_ci.formats.adapter import Adapter, LoraLayer

Told = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResizedLayer:
    """What became of a layer: `error` is ‖ΔW − ΔW'‖ / ‖ΔW‖ (Frobenius), `size` is ‖ΔW‖."""

    module: str
    rank_before: int
    rank: int
    error: float
    size: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resized:
    """The adapter and what became of each of its layers."""

    adapter: Adapter
    layers: tuple[ResizedLayer, ...]

    @property
    def error(self) -> float:
        """The relative error of all layers together."""
        return total_error([(layer.error, layer.size) for layer in self.layers])


def resize(
    adapter: Adapter,
    *,
    rank: int | None = None,
    max_error: float | None = None,
    told: Told | None = None,
) -> Resized:
    """The adapter with each layer at the lowest rank within `max_error`, and at most `rank`.

    Raises:
        UsageError: neither is given, or one is out of range.
        InputError: a DoRA adapter.
    """
    check_limits(rank, max_error)
    if rank is None and max_error is None:
        raise UsageError("resize to what?", hint="next: --rank 16, or --max-error 0.05")
    if adapter.decomposed:
        raise InputError(
            "a DoRA adapter cannot be resized: its sizes belong to the directions of the full rank",
            hint="train it at the lower rank",
        )
    layers, kept = [], {}
    for i, (module, layer) in enumerate(adapter.layers.items()):
        if told:
            told(i, len(adapter.layers), module)
        kept[module], done = resize_layer(module, layer, rank, max_error)
        layers.append(done)
    if told:
        told(len(adapter.layers), len(adapter.layers), "")
    return Resized(adapter=replace(adapter, layers=kept), layers=tuple(layers))


def resize_layer(
    module: str, layer: LoraLayer, rank: int | None, max_error: float | None
) -> tuple[LoraLayer, ResizedLayer]:
    """One layer of `resize`. Shapes are kept but for the rank; alpha becomes the rank."""
    left, values, right = _svd(layer)
    squares = values.double().square()
    # Tail sums from the small end, so that they are not lost beside the big ones.
    tails = torch.cat([squares.flip(0).cumsum(0).flip(0), squares.new_zeros(1)]).sqrt()
    size = float(tails[0])
    wanted = len(values)
    if max_error is not None:
        wanted = int((tails > max_error * size).sum())
    wanted = max(1, min(wanted, rank or wanted, len(values)))
    root = values[:wanted].sqrt()
    out, inputs = layer.up.shape[0], layer.down.shape[1:]
    resized = LoraLayer(
        down=(root[:, None] * right[:wanted]).reshape(wanted, *inputs),
        up=(left[:, :wanted] * root).reshape(out, wanted, *layer.up.shape[2:]),
        alpha=float(wanted),
    )
    done = ResizedLayer(
        module=module,
        rank_before=layer.rank,
        rank=wanted,
        error=float(tails[wanted]) / size if size else 0.0,
        size=size,
    )
    return resized, done


def _svd(layer: LoraLayer) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """U [out, k], singular values [k], Vᵀ [k, in] of ΔW, without ΔW; k ≤ rank."""
    q_up, r_up = torch.linalg.qr(layer.up.flatten(1))
    q_down, r_down = torch.linalg.qr(layer.down.flatten(1).T)
    core = layer.scale * (r_up.double() @ r_down.double().T)
    left, values, right = torch.linalg.svd(core, full_matrices=False)
    return q_up @ left.float(), values.float(), right.float() @ q_down.T


def check_limits(rank: int | None, max_error: float | None) -> None:
    """Raises UsageError for limits that mean nothing."""
    if rank is not None and rank < 1:
        raise UsageError(f"a rank of {rank}: it must be at least 1", hint="next: --rank 16")
    if max_error is not None and not 0 <= max_error < 1:
        raise UsageError(
            f"an error of {max_error:g}: it must be from 0 to below 1",
            hint="next: --max-error 0.05 for 5 % of each layer's size",
        )


def total_error(layers: Sequence[tuple[float, float]]) -> float:
    """The relative error of all layers together, from each one's (error, size)."""
    size = math.hypot(*(size for _, size in layers))
    return math.hypot(*(error * size for error, size in layers)) / size if size else 0.0
