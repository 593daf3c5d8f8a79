"""The contract test: does an adapter fit a base model? Loaders stay silent about most of this."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import torch

from lora_ci.core.finding import Finding, Severity
from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.formats.family import declared_family

SHOWN = 5
OTHER_BASE = "next: lora-ci formats inspect FILE tells which base models it is for"
HINTS = {
    "unknown-component": OTHER_BASE,
    "unknown-module": OTHER_BASE,
    "shape": OTHER_BASE,
    "not-finite": "next: train it again, with a tenth of the learning rate",
    "alpha": "next: export it again with the tool that trained it",
    "dora-sizes": "next: export it again with the tool that trained it",
    "no-effect": "next: train it for longer; this is how adapters are before the first step",
}


def check_adapter(
    adapter: Adapter,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    family: str | None = None,
) -> tuple[Finding, ...]:
    """Findings about names, shapes, ranks and values; () for an adapter that fits.

    `shapes` are the base's weight shapes by module path, `family` is the base's; without them only
    the adapter itself is checked. What keeps it from working is an error, the rest a warning.
    """
    findings = _check_family(adapter, family)
    if shapes is not None:
        findings += _check_names(adapter, shapes)
    for name, layer in adapter.layers.items():
        findings += _check_values(name, layer)
        if shapes is not None and name in shapes:
            findings += _check_shape(name, layer, shapes[name])
    return _first_ones(findings + _check_zeros(adapter))


def _first_ones(findings: list[Finding]) -> tuple[Finding, ...]:
    """The first findings of each rule, the hint at the very first, and how many more there are."""
    counts = Counter(finding.rule for finding in findings)
    seen: Counter[str] = Counter()
    shown = []
    for finding in findings:
        seen[finding.rule] += 1
        if seen[finding.rule] == 1:
            shown.append(finding)
        elif seen[finding.rule] <= SHOWN:
            shown.append(replace(finding, hint=None))
        elif seen[finding.rule] == counts[finding.rule]:
            more = counts[finding.rule] - SHOWN
            shown.append(replace(finding, message=f"… and {more} more such layers", hint=None))
    return tuple(shown)


def _check_family(adapter: Adapter, family: str | None) -> list[Finding]:
    """Does the file's own word agree with what it holds, and with the base?"""
    declared = declared_family(adapter.metadata)
    if declared not in (None, adapter.family):
        message = f"the file says that it is for {declared}, its layers are {adapter.family}'s"
    elif family is not None and family != declared and declared is not None:
        message = f"the file says that it is for {declared}, the base is {family}"
    else:
        return []
    return [_warning("family", message)]


def _check_names(adapter: Adapter, shapes: Mapping[str, tuple[int, ...]]) -> list[Finding]:
    components = {name.split(".", 1)[0] for name in shapes}
    taught = {name.split(".", 1)[0] for name in adapter.layers}
    findings = [
        _error("unknown-component", f"the base has no {component} that an adapter could teach")
        for component in sorted(taught - components)
    ]
    unknown = [n for n in adapter.layers if n not in shapes and n.split(".", 1)[0] in components]
    findings += [_error("unknown-module", f"the base has no module `{n}`") for n in unknown]
    return findings + _check_missing(adapter, shapes)


def _check_missing(adapter: Adapter, shapes: Mapping[str, tuple[int, ...]]) -> list[Finding]:
    """Modules of a kind that the adapter teaches elsewhere: lost, or left out on purpose."""
    kinds = {_kind(name) for name in adapter.layers}
    missing = [name for name in shapes if _kind(name) in kinds and name not in adapter.layers]
    if not missing:
        return []
    first, count = missing[0], len(missing)
    message = f"{count} modules of the kinds it teaches have no layer, such as `{first}`"
    return [_warning("missing-modules", message)]


def _kind(name: str) -> tuple[str, ...]:
    """Component and ending without numbers: `unet … attn1.to_q`."""
    parts = name.split(".")
    return (parts[0], *[part for part in parts[-3:] if not part.isdigit()][-2:])


def _check_shape(name: str, layer: LoraLayer, shape: tuple[int, ...]) -> list[Finding]:
    if layer.weight_shape() != shape:
        message = f"`{name}`: made for a weight of {layer.weight_shape()}, the base has {shape}"
        return [_error("shape", message)]
    limit = min(shape[0], int(torch.Size(shape[1:]).numel()))
    if layer.rank > limit:
        message = f"`{name}`: rank {layer.rank} is above the weight's own rank {limit}"
        return [_warning("rank", message)]
    return []


def _check_values(name: str, layer: LoraLayer) -> list[Finding]:
    findings = []
    size = layer.magnitude
    tensors = (layer.down, layer.up) if size is None else (layer.down, layer.up, size)
    if not all(bool(torch.isfinite(t).all()) for t in tensors):
        findings.append(_error("not-finite", f"`{name}` holds NaN or infinite values"))
    if layer.alpha <= 0:
        findings.append(_error("alpha", f"`{name}`: alpha {layer.alpha:g} is not positive"))
    if size is not None and tuple(size.shape) != (layer.up.shape[0],):
        message = f"`{name}`: {size.numel()} DoRA sizes for {layer.up.shape[0]} rows"
        findings.append(_error("dora-sizes", message))
    return findings


def _check_zeros(adapter: Adapter) -> list[Finding]:
    idle = [
        name
        for name, layer in adapter.layers.items()
        if layer.magnitude is None and not (layer.up.any() and layer.down.any())
    ]
    if len(idle) == len(adapter.layers):
        zeros = "every layer has an up or a down tensor of zeros alone"
        return [_error("no-effect", f"{zeros}: the adapter does nothing")]
    if idle:
        counts = Counter(name.split(".", 1)[0] for name in idle)
        shown = ", ".join(f"{count} of {component}" for component, count in sorted(counts.items()))
        message = f"{len(idle)} of {len(adapter.layers)} layers are all zero ({shown})"
        return [_warning("zero-layers", message)]
    return []


def _error(rule: str, message: str) -> Finding:
    return Finding(
        rule=f"adapter.{rule}", severity=Severity.ERROR, message=message, hint=HINTS[rule]
    )


def _warning(rule: str, message: str) -> Finding:
    return Finding(rule=f"adapter.{rule}", severity=Severity.WARNING, message=message)
