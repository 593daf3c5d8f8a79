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
    """`cosine` of the two ΔW and the ratio of their sizes; both 1 where they are the same."""

    module: str
    cosine: float
    size_ratio: float

    @property
    def same(self) -> bool:
        """True within the tolerance of an export."""
        return self.cosine >= MIN_COSINE and abs(self.size_ratio - 1) <= MAX_SIZE_ERROR


def compare_effect(wanted: Adapter, found: Adapter) -> tuple[LayerEffect, ...]:
    """One comparison a layer of either, by name; a layer that one of them lacks has no effect."""
    names = sorted({*wanted.layers, *found.layers})
    return tuple(_compare(n, wanted.layers.get(n), found.layers.get(n)) for n in names)


def _compare(module: str, wanted: LoraLayer | None, found: LoraLayer | None) -> LayerEffect:
    if wanted and found and wanted.weight_shape() != found.weight_shape():
        return LayerEffect(module=module, cosine=0.0, size_ratio=0.0)
    size = math.sqrt(max(_product(wanted, wanted), 0.0))
    other = math.sqrt(max(_product(found, found), 0.0))
    if size == other == 0:
        return LayerEffect(module=module, cosine=1.0, size_ratio=1.0)
    if size == 0 or other == 0:
        return LayerEffect(module=module, cosine=0.0, size_ratio=0.0 if size else math.inf)
    cosine = _product(wanted, found) / (size * other)
    return LayerEffect(module=module, cosine=cosine, size_ratio=other / size)


def _product(one: LoraLayer | None, other: LoraLayer | None) -> float:
    """⟨ΔW₁, ΔW₂⟩ = Σ (up₁ᵀ up₂) ∘ (down₁ down₂ᵀ) · scales: no matrix of the weight's size."""
    if one is None or other is None:
        return 0.0
    ups = one.up.flatten(1).double().T @ other.up.flatten(1).double()
    downs = one.down.flatten(1).double() @ other.down.flatten(1).double().T
    return one.scale * other.scale * float(torch.sum(ups * downs))
