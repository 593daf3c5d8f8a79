"""FLUX: several layers as one of the matrix that holds them all, and back, both exactly.

Fused, each part keeps its directions to itself (`up` is block-diagonal), so three layers of rank r
give one of rank 3r. Split, each part takes its rows of `up`, and the directions that they use.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from lora_ci.core.errors import InputError
from lora_ci.formats import bfl
from lora_ci.formats.adapter import LoraLayer
from lora_ci.formats.keys import BFL, TRANSFORMER


def fuse_layers(layers: Mapping[str, LoraLayer]) -> dict[str, LoraLayer]:
    """The layers, those of the transformer under the original code's names (`bfl.…`).

    Parts of a fused matrix that have no layer get zeros of the same rank: diffusers tells the
    parts apart again by their equal ranks.
    Raises InputError for a module that FLUX does not have, and for DoRA layers that would leave
    a part of a fused matrix without its size.
    """
    done: dict[str, LoraLayer] = {}
    groups: dict[str, dict[int, LoraLayer]] = {}
    for path, layer in layers.items():
        component, module = path.split(".", 1)
        if component != TRANSFORMER:
            done[path] = layer
            continue
        found = bfl.original_of(module)
        if found is None:
            raise InputError(
                f"kohya's files have no name for `{module[:100]}` of flux",
                hint="next: write the diffusers format instead",
            )
        groups.setdefault(found[0], {})[found[1]] = layer
    for original, parts in groups.items():
        count = len(bfl.parts_of(original))
        fused = parts[0] if count == 1 else _fuse(original, parts, count)
        done[f"{BFL}.{original}"] = _swapped(fused) if original == bfl.SWAPPED else fused
    return done


def split_fused(layers: Mapping[str, LoraLayer], name: str) -> dict[str, LoraLayer]:
    """The layers under diffusers' names. Raises InputError for heights that cannot be split."""
    done: dict[str, LoraLayer] = {}
    for path, layer in layers.items():
        component, original = path.split(".", 1)
        if component != BFL:
            found = {path: layer}
        elif len(parts := bfl.parts_of(original)) == 1:
            whole = _swapped(layer) if original == bfl.SWAPPED else layer
            found = {f"{TRANSFORMER}.{parts[0]}": whole}
        else:
            found = _split(original, layer, name)
        if double := next((p for p in found if p in done), None):
            raise InputError(f"{name}: layer {double[:150]} is in the file twice")
        done |= found
    return done


def _fuse(original: str, parts: Mapping[int, LoraLayer], count: int) -> LoraLayer:
    some = next(iter(parts.values()))
    width = int(some.down.shape[1])
    rank = max(layer.rank for layer in parts.values())
    rows = list(bfl.part_rows(original, None, width))
    for i, layer in parts.items():
        rows[i] = int(layer.up.shape[0])
        if layer.down.shape[1] != width or layer.down.ndim != 2:
            raise InputError(f"`{original}`: its parts have inputs of different widths")
    decomposed = [i for i, layer in parts.items() if layer.magnitude is not None]
    if decomposed and len(decomposed) < count:
        raise InputError(
            f"`{original}`: DoRA on some parts of a matrix that kohya's files hold as one",
            hint="next: write the diffusers format instead",
        )
    down = torch.zeros(count * rank, width)
    up = torch.zeros(sum(rows), count * rank)
    for i, layer in parts.items():
        top, left = sum(rows[:i]), i * rank
        down[left : left + layer.rank] = layer.down
        up[top : top + rows[i], left : left + layer.rank] = layer.up * layer.scale
    sizes = [m for _, layer in sorted(parts.items()) if (m := layer.magnitude) is not None]
    return LoraLayer(
        down=down,
        up=up,
        alpha=float(count * rank),
        magnitude=torch.cat(sizes) if sizes else None,
    )


def _split(original: str, layer: LoraLayer, name: str) -> dict[str, LoraLayer]:
    parts = bfl.parts_of(original)
    height, width = int(layer.up.shape[0]), int(layer.down.shape[1])
    rows = bfl.part_rows(original, height, width)
    if layer.down.ndim != 2 or min(rows) <= 0 or sum(rows) != height:
        raise InputError(f"{name}: `{original}`: {height} rows are not those of {len(parts)} parts")
    found = {}
    ups = torch.split(layer.up, rows)
    sizes = torch.split(layer.magnitude, rows) if layer.magnitude is not None else [None] * len(ups)
    for part, up, size in zip(parts, ups, sizes, strict=True):
        used = (up != 0).any(dim=0)
        if size is not None and not used.any():
            used[0] = True  # its size is learned all the same
        if used.any():
            kept = int(used.sum())
            found[f"{TRANSFORMER}.{part}"] = LoraLayer(
                down=layer.down[used], up=up[:, used], alpha=layer.scale * kept, magnitude=size
            )
    return found


def _swapped(layer: LoraLayer) -> LoraLayer:
    """The layer with the halves of its output exchanged; its own inverse."""

    def turn(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.roll(int(tensor.shape[0]) // 2, 0)

    size = None if layer.magnitude is None else turn(layer.magnitude)
    return LoraLayer(down=layer.down, up=turn(layer.up), alpha=layer.alpha, magnitude=size)
