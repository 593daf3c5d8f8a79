"""`needs` between LoRAs → names of LoRAs that exist, in no circle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lora_ci.config.document import Node, Where
from lora_ci.config.model import Lora
from lora_ci.config.reading import Reading, nearest

LONGEST_SHOWN = 8
Edges = dict[str, dict[str, Where]]


def resolve_needs(
    reading: Reading,
    given: Mapping[str, Node],
    defaults: Mapping[str, Node],
    loras: Mapping[str, Lora],
    variants: Mapping[str, list[str]],
) -> dict[str, Lora]:
    """The LoRAs with the names in `needs` resolved: that of a matrix means all its variants."""
    origin = {variant: name for name, made in variants.items() for variant in made}
    edges: Edges = {name: {} for name in given}
    for name, node in given.items():
        for needed, where in _entries(node, defaults):
            base = needed if needed in given else origin.get(needed)
            if base is None:
                message = f"`{name}` needs `{needed[:64]}`, which is no LoRA"
                reading.say("needs", message, where, nearest(needed, given))
            elif base == name:
                reading.say("needs", f"`{name}` needs itself", where, "remove it")
            else:
                edges[name].setdefault(base, where)
    for circle in circles(edges):
        where = edges[circle[-2]][circle[-1]]
        message = f"LoRAs need each other in a circle: {' → '.join(short(circle))}"
        reading.say("needs-cycle", message, where, "remove one of them")
    return {
        name: replace(lora, needs=_resolved(lora, variants)) if lora.needs else lora
        for name, lora in loras.items()
    }


def circles(edges: Edges) -> list[list[str]]:
    """One circle for each edge that closes one, as `a, b, a`; found without recursion."""
    found: list[list[str]] = []
    done: set[str] = set()
    for start in edges:
        if start in done:
            continue
        way, index, left = [start], {start: 0}, [iter(edges[start])]
        while way:
            following = next(left[-1], None)
            if following is None:
                left.pop()
                last = way.pop()
                del index[last]
                done.add(last)
            elif following in index:
                found.append([*way[index[following] :], following])
            elif following not in done:
                index[following] = len(way)
                way.append(following)
                left.append(iter(edges[following]))
    return found


def short(circle: list[str]) -> list[str]:
    """The beginning and the end of a long circle."""
    if len(circle) <= LONGEST_SHOWN:
        return circle
    return [*circle[: LONGEST_SHOWN - 2], "…", *circle[-2:]]


def _entries(node: Node, defaults: Mapping[str, Node]) -> list[tuple[str, Where]]:
    own = node.value if isinstance(node.value, dict) else {}
    needs = own.get("needs", defaults.get("needs"))
    items = needs.value if needs is not None and isinstance(needs.value, list) else []
    return [(item.value, item.where) for item in items if isinstance(item.value, str)]


def _resolved(lora: Lora, variants: Mapping[str, list[str]]) -> tuple[str, ...]:
    names = [name for needed in lora.needs for name in variants.get(needed) or [needed]]
    return tuple(dict.fromkeys(names))
