"""Puts adapters onto a loaded base and takes them off again, without reloading.

The update is put into the weights (`W + Σ weight · ΔW`, DoRA's ΔW being how far it moves W) rather
than computed beside them: sampling costs what the base costs, and detaching restores the very
bytes. It is computed in float32 and rounded once, whatever the base's precision is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from lora_ci.core.errors import InputError
from lora_ci.core.finding import Severity
from lora_ci.diffusion.load import BaseModel
from lora_ci.formats.adapter import Adapter
from lora_ci.formats.contract import check_adapter
from lora_ci.formats.read import read_adapter

# Beyond it adapters are not used, and below 0 they teach the opposite.
MAX_WEIGHT = 1.5


@dataclass(slots=True, kw_only=True, eq=False)
class Attached:
    """An adapter on a base, and others `beside` it at weights of their own that stay.

    `weight` is the adapter's in force; a new one is set with `set_weight`, until it is taken `off`.
    """

    model: BaseModel
    adapter: Adapter
    beside: tuple[tuple[Adapter, float], ...] = ()
    weight: float = 0.0
    off: bool = False

    @property
    def layers(self) -> set[str]:
        """The modules that any of the adapters changes."""
        return {name for one in (self.adapter, *(a for a, _ in self.beside)) for name in one.layers}


def attach(
    model: BaseModel,
    adapter: Adapter | Path,
    weight: float = 1.0,
    *,
    beside: Sequence[tuple[Adapter, float]] = (),
) -> Attached:
    """Attaches an adapter, read from its file if a path is given, and others beside it.

    Raises InputError if any of the tensors does not fit the base, a weight is out of range, or
    something is attached already; the base is as it was then.
    """
    if model.originals:
        raise InputError("an adapter is attached already: detach it first")
    if isinstance(adapter, Path):
        adapter = read_adapter(adapter)
    attached = Attached(model=model, adapter=adapter, beside=tuple(beside))
    shapes = model.shapes()
    for one in (adapter, *(other for other, _ in beside)):
        found = check_adapter(one, shapes, model.family.name)
        errors = tuple(finding for finding in found if finding.severity is Severity.ERROR)
        if errors:
            raise InputError(f"the adapter does not fit: {errors[0].message}", findings=errors)
    for value in (weight, *(other for _, other in beside)):
        _check_weight(value)
    modules = dict(model.modules())
    try:
        for name in attached.layers:
            # A GPU has no memory to spare for them.
            model.originals[name] = modules[name].weight.detach().to("cpu", copy=True)
        _put_on(attached, weight, attached.layers)
    except BaseException:
        detach(attached)
        raise
    return attached


def set_weight(attached: Attached, weight: float) -> None:
    """Sets the adapter's strength; 0 is the base, byte for byte, with what is beside it.

    Raises InputError for a weight out of range, or an adapter that was taken off.
    """
    _check_weight(weight)
    if attached.off:
        raise InputError("the adapter was taken off: attach it again")
    if weight != attached.weight:
        _put_on(attached, weight, set(attached.adapter.layers))


def detach(attached: Attached) -> None:
    """Restores the base, byte for byte."""
    modules = dict(attached.model.modules())
    with torch.no_grad():
        for name, original in attached.model.originals.items():
            modules[name].weight.copy_(original)
    attached.model.originals.clear()
    attached.weight, attached.off = 0.0, True


def _put_on(attached: Attached, weight: float, names: set[str]) -> None:
    modules = dict(attached.model.modules())
    parts = [(a, w) for a, w in ((attached.adapter, weight), *attached.beside) if w]
    with torch.no_grad():
        for name in sorted(names):
            target, original = modules[name].weight, attached.model.originals[name]
            found = [(layer, w) for a, w in parts if (layer := a.layers.get(name))]
            if not found:
                target.copy_(original)
                continue
            exact = original.to(target.device).float()
            changes = [w * layer.change(exact) for layer, w in found]
            target.copy_(sum(changes, exact))
    attached.weight = weight


def _check_weight(weight: float) -> None:
    # A comparison that NaN does not pass.
    if not 0 <= weight <= MAX_WEIGHT:
        raise InputError(f"adapter weight {weight:g}: expected 0 to {MAX_WEIGHT:g}")
