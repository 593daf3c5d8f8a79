"""The `wdir` of the stages in a `dvc.yaml`: people write it, with anchors and merge keys too.

The nodes are looked through as they are: an alias is a second way to the same node, so that none
can blow the document up.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import yaml

from lora_ci.config.document import Where, decode, refused
from lora_ci.core.errors import InputError, UsageError

STAGES = "dvc.yaml"
# Some builds of PyYAML have no libyaml.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MERGE, NULL = "tag:yaml.org,2002:merge", "tag:yaml.org,2002:null"
HINT = "next: dvc stage list, which reads the same file"


def working_folders(text: bytes, file: str) -> dict[str, str]:
    """The `wdir` of each stage that has one, templates as they stand. Raises InputError."""
    if b"wdir" not in text:
        return {}
    try:
        top = _compose(text, file)
    except UsageError as error:
        raise unread(error, file, HINT) from error
    folders: dict[str, str] = {}
    for name, stage in _items(_get(top, "stages")):
        wdir = _get(_get(stage, "do") or stage, "wdir")
        if isinstance(wdir, yaml.ScalarNode) and wdir.tag != NULL:
            folders.setdefault(name, wdir.value)
    return folders


def unread(error: UsageError, file: str, hint: str) -> InputError:
    """What the reader of configs refused, as a fault of a file that DVC writes or reads."""
    findings = tuple(
        replace(
            finding,
            rule="changes.pointer",
            hint=finding.hint if finding.rule == "config.merge-conflict" else hint,
        )
        for finding in error.findings
    )
    place = findings[0].location() or file
    return InputError(f"{place}: {error}", findings=findings)


def _compose(text: bytes, file: str) -> yaml.Node | None:
    source = decode(text, file)
    try:
        return yaml.compose(source, Loader=LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Where(file, mark.line + 1, mark.column + 1) if mark else Where(file, 1, 1)
        raise refused(
            "syntax", f"not YAML: {error.problem or error.context}", where, HINT
        ) from error
    except (yaml.YAMLError, RecursionError) as error:
        message = f"not YAML: {str(error).splitlines()[0]}"
        raise refused("syntax", message, Where(file, 1, 1), HINT) from error


def _get(node: yaml.Node | None, key: str) -> yaml.Node | None:
    return next((value for name, value in _items(node) if name == key), None)


def _items(node: yaml.Node | None) -> Iterator[tuple[str, yaml.Node]]:
    """The keys and values of a mapping, its own first, then those of what it merges in."""
    left: list[yaml.Node | None] = [node]
    seen: set[int] = set()
    while left:
        now = left.pop(0)
        if now is None or id(now) in seen:
            continue
        seen.add(id(now))
        if isinstance(now, yaml.SequenceNode) and now is not node:
            left[:0] = now.value
        elif isinstance(now, yaml.MappingNode):
            merged = []
            for key, value in now.value:
                if key.tag == MERGE:
                    merged.append(value)
                elif isinstance(key, yaml.ScalarNode):
                    yield key.value, value
            left[:0] = merged
