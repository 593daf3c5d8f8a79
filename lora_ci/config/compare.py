"""Two configs → the keys whose resolved values differ, by the file that sets them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from lora_ci.config.language import SECTIONS
from lora_ci.config.model import FILE_NAME, Config, Lora
from lora_ci.core.settings import Policy, settings_json

# Said by other keys: by the LoRA's place, and by the keys that a matrix varies.
DERIVED = ("name", "variant", "variant_of")


def changed_keys(old: Config | None, new: Config) -> dict[str, tuple[str, ...]]:
    """File → the sorted paths of keys (`loras.mei.train.rank`) whose resolved value differs.

    A LoRA that came or went is one key. The file is the one that sets the new value, or set the
    old one where there is none now. Comments, order and `defaults` or not make no difference.
    """
    changed: dict[str, set[str]] = {}
    for path in _differing(old, new):
        places = [config.places.get(path) for config in (new, old) if config]
        place = next((place for place in places if place), None)
        changed.setdefault(place.file if place else FILE_NAME, set()).add(path)
    return {file: tuple(sorted(paths)) for file, paths in sorted(changed.items())}


def _differing(old: Config | None, new: Config) -> Iterable[str]:
    former: Mapping[str, Lora] = old.loras if old else {}
    for name in former.keys() ^ new.loras.keys():
        yield f"loras.{name}"
    for name in former.keys() & new.loras.keys():
        if former[name] != new.loras[name]:
            yield from _unlike(values(former[name]), values(new.loras[name]), f"loras.{name}.")
    yield from _unlike(rules(old), rules(new), "")


def _unlike(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str) -> Iterable[str]:
    missing = object()
    for key in old.keys() | new.keys():
        if old.get(key, missing) != new.get(key, missing):
            yield prefix + key


def rules(config: Config | None) -> dict[str, Any]:
    """What holds for the whole repository, by path; the defaults where there is no config."""
    policy = settings_json(config.policy if config else Policy())
    named = {f"policy.{key}": value for key, value in policy.items()}
    return {**named, "paths": list(config.paths if config else ())}


def values(lora: Lora) -> dict[str, Any]:
    """Every resolved value by the path of its key below the LoRA; a gate is a value."""
    found: dict[str, Any] = {}
    for field in fields(lora):
        value = getattr(lora, field.name)
        if field.name in DERIVED:
            continue
        if field.name not in SECTIONS:
            found[field.name] = settings_json(value)
            continue
        for key, inner in settings_json(value).items():
            if isinstance(inner, dict):
                found |= {f"{field.name}.{key}.{k}": v for k, v in inner.items()}
            else:
                found[f"{field.name}.{key}"] = inner
    return found
