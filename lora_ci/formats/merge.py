"""One adapter that does what several do together, each at its weight.

`Σ wᵢ · upᵢ @ downᵢ` is what factors put side by side give (`cat`): exact, with the ranks added up.
An SVD brings it to a lower rank, with the error stated. Averaging ups and downs apart is not
offered: `(Σ wᵢ upᵢ)(Σ wⱼ downⱼ)` mixes each adapter's ups with the others' downs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from lora_ci.core.errors import InputError, UsageError
from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.formats.read import MAX_RANK
from lora_ci.formats.resize import Told, check_limits, resize_layer, total_error

# Of the training of one adapter: it is not the merged one's.
ONE_TRAINING = ("ss_", "sshs_", "modelspec.hash", "modelspec.title", "modelspec.date")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Merged:
    """The adapter, and its relative distance (Frobenius) from the exact sum: 0 without limits."""

    adapter: Adapter
    error: float


def merge(
    adapters: Sequence[Adapter],
    weights: Sequence[float],
    *,
    rank: int | None = None,
    max_error: float | None = None,
    told: Told | None = None,
) -> Merged:
    """The weighted sum of the adapters' updates; each layer is brought to the limits, if any.

    Raises:
        UsageError: another number of weights, a weight that is no number, limits out of range.
        InputError: adapters of several families, DoRA, or layers of different shapes.
    """
    check_limits(rank, max_error)
    _check(adapters, weights)
    modules = sorted({module for adapter in adapters for module in adapter.layers})
    layers, errors = {}, []
    for i, module in enumerate(modules):
        if told:
            told(i, len(modules), module)
        layer = _cat(module, adapters, weights)
        if rank is not None or max_error is not None:
            layer, done = resize_layer(module, layer, rank, max_error)
            errors.append((done.error, done.size))
        layers[module] = layer
    if told:
        told(len(modules), len(modules), "")
    merged = Adapter(layers=layers, family=adapters[0].family, metadata=_metadata(adapters))
    return Merged(adapter=merged, error=total_error(errors))


def average_error(adapters: Sequence[Adapter], weights: Sequence[float]) -> float | None:
    """How far the average of the factors is off the average of the updates, relative.

    None where the factors have different shapes, and so no average.
    """
    _check(adapters, weights)
    total = sum(weights)
    errors = []
    for module in adapters[0].layers:
        layers = [adapter.layers.get(module) for adapter in adapters]
        known = [layer for layer in layers if layer]
        if len(known) < len(layers) or len({layer.rank for layer in known}) > 1 or not total:
            return None
        shares = [weight / total for weight in weights]
        wanted = sum(w * layer.delta() for w, layer in zip(shares, known, strict=True))
        down = sum(w * layer.down for w, layer in zip(shares, known, strict=True))
        up = sum(w * layer.scale * layer.up for w, layer in zip(shares, known, strict=True))
        found = replace(known[0], down=down, up=up, alpha=float(known[0].rank)).delta()
        size = float(torch.linalg.norm(wanted))
        errors.append((float(torch.linalg.norm(found - wanted)) / size if size else 0.0, size))
    return total_error(errors)


def _check(adapters: Sequence[Adapter], weights: Sequence[float]) -> None:
    if not adapters:
        raise UsageError("merge what?", hint="next: lora-ci formats merge A B --out C")
    if not all(map(math.isfinite, weights)):
        raise UsageError("a weight is no finite number", hint="next: --weights 0.5,0.5")
    if len(weights) != len(adapters):
        raise UsageError(
            f"{len(weights)} weights for {len(adapters)} adapters",
            hint="next: --weights 0.5,0.5 (one number for each)",
        )
    families = sorted({adapter.family for adapter in adapters})
    if len(families) > 1:
        raise InputError(
            f"adapters for {' and '.join(families)} cannot be merged",
            hint="next: lora-ci formats inspect FILE",
        )
    if any(adapter.decomposed for adapter in adapters):
        raise InputError(
            "DoRA adapters cannot be merged: what they do depends on the base's weights",
            hint="train on all the data at once",
        )


def _cat(module: str, adapters: Sequence[Adapter], weights: Sequence[float]) -> LoraLayer:
    found = [
        (layer, weight)
        for adapter, weight in zip(adapters, weights, strict=True)
        if (layer := adapter.layers.get(module))
    ]
    shapes = {layer.weight_shape() for layer, _ in found}
    if len(shapes) > 1:
        shown = " and ".join(str(list(shape)) for shape in sorted(shapes))
        raise InputError(f"`{module[:150]}` has shapes {shown}: adapters for different bases")
    rank = sum(layer.rank for layer, _ in found)
    if rank > MAX_RANK:
        raise InputError(
            f"`{module[:150]}`: the ranks add up to {rank}, more than {MAX_RANK}",
            hint="next: resize the adapters first, or merge in two goes with --rank",
        )
    return LoraLayer(
        down=torch.cat([layer.down for layer, _ in found]),
        up=torch.cat([weight * layer.scale * layer.up for layer, weight in found], dim=1),
        alpha=float(rank),
    )


def _metadata(adapters: Sequence[Adapter]) -> dict[str, str]:
    """What all adapters say alike, and what they were merged from."""
    first, *others = (adapter.metadata for adapter in adapters)
    shared = {
        key: value
        for key, value in first.items()
        if not key.startswith(ONE_TRAINING) and all(o.get(key) == value for o in others)
    }
    titles = [adapter.metadata.get("modelspec.title", "LoRA") for adapter in adapters]
    return shared | {
        # Shards of one training are called alike.
        "modelspec.title": " + ".join(dict.fromkeys(titles))[:200],
        "modelspec.merged_from": ", ".join(titles)[:1000],
    }
