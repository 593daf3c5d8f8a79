"""The contract of adapters with their base: what keeps them from working, before any picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from lora_ci.core.finding import Finding
from lora_ci.diffusion.load import BaseModel
from lora_ci.formats.contract import check_adapter
from lora_ci.formats.read import read_adapter
from lora_ci.ruler.readings import Readings

# Raise it when the same base would get other shapes.
SHAPES_VERSION = 1
# What builds the base's parts.
LIBRARIES = ("diffusers", "transformers")
Shapes = dict[str, tuple[int, ...]]


def check_contract(
    paths: Mapping[str, Path], base: BaseModel, readings: Readings
) -> tuple[Finding, ...]:
    """What keeps adapters from working on the base; loaders stay silent about most of it.

    `paths` are their files by what they are to the judgement. Raises InputError for one that is no
    adapter.
    """
    shapes, found = shapes_of(base, readings), []
    for name, path in paths.items():
        for finding in check_adapter(read_adapter(path), shapes, base.family.name):
            whose = "" if name == "adapter" else f"the {name} adapter: "
            found.append(replace(finding, message=whose + finding.message))
    return tuple(found)


def shapes_of(base: BaseModel, readings: Readings) -> Shapes:
    """The base's weight shapes by module path, kept: its libraries take seconds to load."""
    key = ["shapes", SHAPES_VERSION, base.content_id, *map(version, LIBRARIES)]
    found = readings.get(key, Shapes) if base.content_id else None
    if found is None:
        from lora_ci.diffusion.outline import base_shapes

        found = base_shapes(base.folder)
        readings.put(key, found)
    return found
