"""The contract test: does an adapter fit a base model? Loaders stay silent about most of this."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from lora_ci.core.finding import Finding, Severity
from lora_ci.formats.adapter import Adapter, LoraLayer

SHOWN = 5


def check_adapter(adapter: Adapter, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Finding, ...]:
    """Findings about names, shapes, ranks and values; () for an adapter that fits.

    `shapes` are the base's weight shapes by module path.
    """
    unknown = [name for name in adapter.layers if name not in shapes]
    findings = [_error("unknown-module", f"the base has no module `{n}`") for n in unknown[:SHOWN]]
    if len(unknown) > SHOWN:
        findings.append(_error("unknown-module", f"… and {len(unknown) - SHOWN} more modules"))
    for name, layer in adapter.layers.items():
        if name in shapes:
            findings += _check_layer(name, layer, shapes[name])
    ups = [layer.up for layer in adapter.layers.values()]
    if not any(bool(up.any()) for up in ups):
        findings.append(_error("no-effect", "all up tensors are zero: the adapter does nothing"))
    return tuple(findings)


def _check_layer(name: str, layer: LoraLayer, shape: tuple[int, ...]) -> list[Finding]:
    findings = []
    if layer.weight_shape() != shape:
        message = f"`{name}`: made for a weight of {layer.weight_shape()}, the base has {shape}"
        findings.append(_error("shape", message))
    if not all(bool(torch.isfinite(t).all()) for t in (layer.down, layer.up)):
        findings.append(_error("not-finite", f"`{name}` holds NaN or infinite values"))
    if layer.alpha <= 0:
        findings.append(_error("alpha", f"`{name}`: alpha {layer.alpha:g} is not positive"))
    limit = min(shape[0], int(torch.Size(shape[1:]).numel()))
    if layer.rank > limit:
        message = f"`{name}`: rank {layer.rank} is above the weight's own rank {limit}"
        findings.append(Finding(rule="adapter.rank", severity=Severity.WARNING, message=message))
    return findings


def _error(rule: str, message: str) -> Finding:
    return Finding(rule=f"adapter.{rule}", severity=Severity.ERROR, message=message)
