"""The contract of adapters with their base: what keeps them from working, before any picture."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from lora_ci.core.finding import Finding, Severity
from lora_ci.diffusion.load import BaseModel
from lora_ci.formats.contract import check_adapter
from lora_ci.formats.inspection import inspect_file
from lora_ci.formats.read import read_adapter
from lora_ci.ruler.readings import Readings

SHOWN = 80
# Raise it when the same base would get other shapes.
SHAPES_VERSION = 1
# What builds the base's parts.
LIBRARIES = ("diffusers", "transformers")
Shapes = dict[str, tuple[int, ...]]
# The test that another adapter than the judged one is there for.
TEST_WITH = {"released": "regression", "companion": "composability"}


def check_contract(
    paths: Mapping[str, Path], base: BaseModel, trigger: str, readings: Readings
) -> dict[str, tuple[Finding, ...]]:
    """What keeps adapters from working on the base; loaders stay silent about most of it.

    `paths` are their files by what they are to the judgement, and so are the findings; `trigger` is
    what the judged one must listen to. Raises InputError for one that is no adapter.
    """
    shapes, found = shapes_of(base, readings), {}
    for name, path in paths.items():
        told = check_file(path, trigger if name == "adapter" else None)
        told += check_adapter(read_adapter(path), shapes, base.family.name)
        found[name] = tuple(_of_other(name, f) if name in TEST_WITH else f for f in told)
    return found


def _of_other(name: str, finding: Finding) -> Finding:
    """A finding about another adapter than the judged one, with what can be done here."""
    hint = finding.hint
    if finding.severity is Severity.ERROR:
        hint = f"next: name another one, or judge without it: `qa.skip: [{TEST_WITH[name]}]`"
    return replace(finding, message=f"the {name} adapter: {finding.message}", hint=hint)


def check_file(path: Path, trigger: str | None) -> list[Finding]:
    """Does the file keep its own word: the digest of its tensors, and the trigger that it names?

    No picture tells another trigger: a style hangs on all words of its captions.
    """
    found, seen = [], inspect_file(path)
    if seen.hash_matches is False:
        found.append(
            Finding(
                rule="adapter.digest",
                severity=Severity.WARNING,
                message="its tensors are not those that its own digest names: it was damaged, or "
                "changed by a tool that left the digest as it was",
                hint="next: fetch or export it again",
            )
        )
    named = seen.metadata.get("modelspec.trigger_phrase", "").strip()
    if trigger and named and not _names(named, trigger):
        found.append(
            Finding(
                rule="adapter.trigger",
                severity=Severity.ERROR,
                message=f"the file says that its trigger is `{named[:SHOWN]}`, it is judged with "
                f"`{trigger[:SHOWN]}`",
                hint="next: judge it with its own trigger, or train it with captions that name "
                "this one",
            )
        )
    return found


def _names(phrase: str, trigger: str) -> bool:
    """True if a phrase holds the trigger as words of its own; CLIP knows no capitals."""
    word = rf"(?<!\w){re.escape(trigger.casefold())}(?!\w)"
    return re.search(word, phrase.casefold()) is not None


def shapes_of(base: BaseModel, readings: Readings) -> Shapes:
    """The base's weight shapes by module path, kept: its libraries take seconds to load."""
    key = ["shapes", SHAPES_VERSION, base.content_id, *map(version, LIBRARIES)]
    found = readings.get(key, Shapes) if base.content_id else None
    if found is None:
        from lora_ci.diffusion.outline import base_shapes

        found = base_shapes(base.folder)
        readings.put(key, found)
    return found
