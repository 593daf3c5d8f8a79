"""Do two adapters do the same? Compares ΔW, never the factors, layer by layer."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from lora_ci.formats.adapter import Adapter, LoraLayer

MIN_COSINE = 0.999
MAX_SIZE_ERROR = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerEffect:
    """`cosine` of the two ΔW and the ratio of their sizes; both 1 where they are the same.

    `magnitude_error`: the largest relative difference of DoRA's sizes; infinite if only one of
    the two has any.
    """

    module: str
    cosine: float
    size_ratio: float
    magnitude_error: float = 0.0

    @property
    def same(self) -> bool:
        """True within the tolerance of an export."""
        size_error = max(abs(self.size_ratio - 1), self.magnitude_error)
        return self.cosine >= MIN_COSINE and size_error <= MAX_SIZE_ERROR


def compare_effect(wanted: Adapter, found: Adapter) -> tuple[LayerEffect, ...]:
    """One comparison a layer of either, by name; a layer that one of them lacks has no effect."""
    names = sorted({*wanted.layers, *found.layers})
    return tuple(_compare(n, wanted.layers.get(n), found.layers.get(n)) for n in names)


def _compare(module: str, wanted: LoraLayer | None, found: LoraLayer | None) -> LayerEffect:
    if wanted and found and wanted.weight_shape() != found.weight_shape():
        return LayerEffect(module=module, cosine=0.0, size_ratio=0.0)
    magnitude = _magnitude_error(wanted, found)
    size = math.sqrt(max(product(wanted, wanted), 0.0))
    other = math.sqrt(max(product(found, found), 0.0))
    if size == 0 or other == 0:
        same = size == other
        ratio = 1.0 if same else (0.0 if size else math.inf)
        cosine = 1.0 if same else 0.0
    else:
        cosine, ratio = product(wanted, found) / (size * other), other / size
    return LayerEffect(module=module, cosine=cosine, size_ratio=ratio, magnitude_error=magnitude)


def _magnitude_error(wanted: LoraLayer | None, found: LoraLayer | None) -> float:
    sizes = [layer.magnitude if layer else None for layer in (wanted, found)]
    if sizes[0] is None or sizes[1] is None:
        return 0.0 if sizes[0] is sizes[1] else math.inf
    tiny = torch.finfo(torch.float32).tiny
    error = (sizes[1] - sizes[0]).abs() / sizes[0].abs().clamp_min(tiny)
    return float(error.max())


def product(one: LoraLayer | None, other: LoraLayer | None) -> float:
    """⟨ΔW₁, ΔW₂⟩ = Σ (up₁ᵀ up₂) ∘ (down₁ down₂ᵀ) · scales: no matrix of the weight's size."""
    if one is None or other is None:
        return 0.0
    ups = one.up.flatten(1).double().T @ other.up.flatten(1).double()
    downs = one.down.flatten(1).double() @ other.down.flatten(1).double().T
    return one.scale * other.scale * float(torch.sum(ups * downs))
