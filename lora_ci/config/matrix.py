"""`matrix` → the variants of a LoRA, one for each combination of values."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from lora_ci.config.document import Node
from lora_ci.config.language import (
    MATRIX_KEYS,
    MATRIX_SECTIONS,
    MAX_VARIANTS,
    NAME,
    SECTIONS,
    WrittenLora,
)
from lora_ci.config.reading import Reading, hints_of, nearest, shown
from lora_ci.core.digest import sha256_json

LONGEST_NAME = 64
DIGEST_LETTERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One combination: its LoRA's name, the values by path, and the nodes they came from."""

    name: str
    values: Mapping[str, Any] = field(default_factory=dict)
    nodes: Mapping[str, Node] = field(default_factory=dict)


def matrix_types() -> dict[str, Any]:
    """The types of all that a matrix may vary, in the order in which names tell it."""
    types = {key: hints_of(WrittenLora)[key] for key in MATRIX_KEYS}
    for key in MATRIX_SECTIONS:
        types |= {f"{key}.{inner}": hint for inner, hint in hints_of(SECTIONS[key]).items()}
    return types


def expand(reading: Reading, name: str, node: Node | None, path: str) -> list[Variant]:
    """The variants; the LoRA itself alone where there is no matrix or it is wrong."""
    given = reading.mapping(node, path)
    if not given or node is None:
        return [Variant(name=name)]
    types = matrix_types()
    axes: dict[str, list[tuple[Node, Any]]] = {}
    for key in sorted(given, key=lambda key: list(types).index(key) if key in types else -1):
        if key in types:
            axes[key] = read_axis(reading, types[key], given[key], f"{path}.{key}")
        else:
            message = f"`{key[:64]}` is nothing that a matrix can vary"
            hint = nearest(key, types, only_near=True)
            reading.say("matrix", message, given[key].name_at, hint or "such as `train.rank`")
    count = math.prod(len(axis) for axis in axes.values())
    if count > MAX_VARIANTS:
        message = f"`{path}` makes {count} LoRAs; at most {MAX_VARIANTS}"
        reading.say("matrix", message, node.name_at)
        return [Variant(name=name)]
    choices = itertools.product(*axes.values())
    combinations = [dict(zip(axes, choice, strict=True)) for choice in choices]
    return [
        Variant(
            name=chosen,
            values={key: value for key, (_, value) in combination.items()},
            nodes={key: inner for key, (inner, _) in combination.items()},
        )
        for chosen, combination in zip(names(name, combinations), combinations, strict=True)
    ]


def read_axis(reading: Reading, hint: Any, node: Node, path: str) -> list[tuple[Node, Any]]:
    """The values of one key, each of the key's own type."""
    if not isinstance(node.value, list) or not node.value:
        message = f"`{path}` is {shown(node)}: expected a list of values"
        reading.say("matrix", message, node.where)
        return []
    if len(node.value) > MAX_VARIANTS:
        message = f"`{path}` has {len(node.value)} values; at most {MAX_VARIANTS}"
        reading.say("matrix", message, node.where)
        return []
    axis: list[tuple[Node, Any]] = []
    for item in node.value:
        before = len(reading.findings)
        value = reading.value(hint, item, path)
        if len(reading.findings) > before:
            continue
        if any(value == other for _, other in axis):
            reading.say("matrix", f"`{path}` has {shown(item)} twice", item.where, "remove one")
        axis.append((item, value))
    return axis


def names(name: str, combinations: list[dict[str, tuple[Node, Any]]]) -> list[str]:
    """A valid name for each combination, the same in whatever order the keys are written."""
    keys = list(combinations[0]) if combinations else []
    last = [key.rpartition(".")[2] for key in keys]
    short = {key: key if last.count(end) > 1 else end for key, end in zip(keys, last, strict=True)}
    made = [
        ".".join([name, *(f"{short[key]}-{slug(value)}" for key, (_, value) in c.items())])
        for c in combinations
    ]
    return [
        text
        if made.count(text) == 1 and len(text) <= LONGEST_NAME and NAME.fullmatch(text)
        else f"{name[: LONGEST_NAME - DIGEST_LETTERS - 1]}.{digest(combination)}"
        for text, combination in zip(made, combinations, strict=True)
    ]


def digest(combination: dict[str, tuple[Node, Any]]) -> str:
    """Letters that stand for a combination whose name would be too long."""
    plain = {key: inner.plain() for key, (inner, _) in combination.items()}
    return sha256_json(plain)[:DIGEST_LETTERS]


def slug(value: object) -> str:
    """A value as a part of a name: 0.0001 → `1e-4`."""
    if isinstance(value, float):
        return number(value)
    text = str(value).lower() if isinstance(value, str | int | None) else sha256_json(value)[:6]
    return re.sub(r"[^a-z0-9._-]+", "-", text).strip("-.") or "empty"


def number(value: float) -> str:
    """The shortest text of a number: 16.0 → `16`, 0.00005 → `5e-5`."""
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    if value == 0 or not isinstance(exponent, int):
        return "0"
    if abs(value) >= 1e-3:
        return f"{Decimal(repr(value)).normalize():f}"
    text = "".join(map(str, digits))
    mantissa = text[0] + (f".{text[1:]}" if len(text) > 1 else "")
    return f"{'-' * sign}{mantissa}e{exponent + len(text) - 1}"
