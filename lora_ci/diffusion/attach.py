"""Puts an adapter onto a loaded base and takes it off again, without reloading.

The update is put into the weights (`W + weight · ΔW`, or DoRA's) rather than computed beside them:
sampling costs what the base costs, and detaching restores the very bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from lora_ci.core.errors import InputError
from lora_ci.core.finding import Severity
from lora_ci.diffusion.load import BaseModel
from lora_ci.formats.adapter import Adapter
from lora_ci.formats.contract import check_adapter
from lora_ci.formats.read import read_adapter


@dataclass(slots=True, kw_only=True, eq=False)
class Attached:
    """An adapter on a base. `weight` is the one in force; a new one is set with `set_weight`."""

    model: BaseModel
    adapter: Adapter
    weight: float = 0.0


def attach(model: BaseModel, adapter: Adapter | Path, weight: float = 1.0) -> Attached:
    """Attaches an adapter, read from its file if a path is given.

    Raises InputError if any of its tensors does not fit the base, or one is attached already.
    """
    if model.originals:
        raise InputError("an adapter is attached already: detach it first")
    if isinstance(adapter, Path):
        adapter = read_adapter(adapter)
    found = check_adapter(adapter, model.shapes(), model.family.name)
    errors = tuple(finding for finding in found if finding.severity is Severity.ERROR)
    if errors:
        raise InputError(f"the adapter does not fit: {errors[0].message}", findings=errors)
    modules = dict(model.modules())
    for name in adapter.layers:
        model.originals[name] = modules[name].weight.detach().clone()
    attached = Attached(model=model, adapter=adapter)
    set_weight(attached, weight)
    return attached


def set_weight(attached: Attached, weight: float) -> None:
    """Sets the adapter's strength; 0 is the base, byte for byte."""
    if weight == attached.weight:
        return
    modules = dict(attached.model.modules())
    with torch.no_grad():
        for name, layer in attached.adapter.layers.items():
            original = attached.model.originals[name]
            modules[name].weight.copy_(layer.apply(original, weight))
    attached.weight = weight


def detach(attached: Attached) -> None:
    """Restores the base, byte for byte."""
    set_weight(attached, 0.0)
    attached.model.originals.clear()
