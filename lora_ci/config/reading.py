"""What reading a config has found so far: findings, notes, the place of every value."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, fields, replace
from enum import Enum
from functools import cache
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

import msgspec

from lora_ci.config.document import Node, Where, parse_yaml, problem
from lora_ci.config.toml_document import parse_toml
from lora_ci.core.errors import UsageError
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.text import clean

ReadFile = Callable[[str], bytes | None]
T = TypeVar("T")

# Keys of former versions and other tools, by what they are called here.
FORMER = {
    "store": "targets",
    "model": "base_model",
    "network_dim": "rank",
    "network_alpha": "alpha",
}
# msgspec's names of types in plain words.
TYPES = {
    "array": "a list",
    "bool": "true or false",
    "float": "a number",
    "int": "a whole number",
    "object": "a mapping",
    "str": "a text",
}
TYPE_NAME = re.compile(r"\b(array|bool|float|int|object|str)\b")
# Controls, ends of lines, halves of pairs, and what turns the direction of writing.
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
LONGEST_SHOWN = 60
MOST_HINTS = 1000


class Reading:
    """Turns nodes into values; what is wrong is collected, never raised."""

    def __init__(self, file: str, read: ReadFile) -> None:
        self.file = file
        self.read = read
        self.findings: list[Finding] = []
        self.notes: list[Finding] = []
        self.places: dict[str, Where] = {}
        self.documents: dict[str, Node | None] = {}

    def say(self, rule: str, message: str, where: Where, hint: str | None = None) -> None:
        """Adds an error."""
        self.findings.append(problem(rule, message, where, hint))

    def note(self, rule: str, message: str, where: Where, hint: str | None = None) -> None:
        """Adds a warning, which forbids nothing; once a place."""
        warning = replace(problem(rule, message, where, hint), severity=Severity.WARNING)
        if warning not in self.notes:
            self.notes.append(warning)

    def mapping(
        self, node: Node | None, what: str, known: Collection[str] | None = None
    ) -> dict[str, Node]:
        """The keys of a mapping; of those that are not `known` it is said."""
        if node is None or node.value is None:
            return {}
        if not isinstance(node.value, dict):
            message = f"`{what}` is {shown(node)}: expected keys and values"
            self.say("value", message, node.where)
            return {}
        if known is None:
            return node.value
        self.refuse_unknown(node.value, known, what)
        return {key: child for key, child in node.value.items() if key in known}

    def refuse_unknown(self, given: Mapping[str, Node], known: Collection[str], what: str) -> None:
        """Says which keys are not known, and what they may have meant."""
        for key, node in given.items():
            if key not in known:
                message = f"`{key[:LONGEST_SHOWN]}` is no key of {what}"
                # Looking for what was meant takes time, and only the first are shown.
                few = len(self.findings) < MOST_HINTS
                hint = nearest(key, known) if few else None
                self.say("unknown-key", message, node.name_at, hint)

    def settings(self, kind: Callable[..., T], node: Node | None, path: str) -> T | None:
        """A settings dataclass from a mapping; None if something in it is wrong."""
        before = len(self.findings)
        hints, required = hints_of(kind), required_of(kind)
        given = self.mapping(node, path, hints)
        plain = {key: child.plain() for key, child in given.items()}
        if len(self.findings) == before and _finite(plain):
            try:
                made = msgspec.convert(plain, type=kind, strict=True)
            except msgspec.ValidationError:
                # It names one thing that is wrong; value by value names them all.
                pass
            else:
                for key, child in given.items():
                    self.place(f"{path}.{key}", child)
                return cast("T", made)
        for key, child in given.items():
            self.value(hints[key], child, f"{path}.{key}")
        if node is not None and (missing := required - given.keys()):
            names = ", ".join(f"`{key}`" for key in sorted(missing))
            self.say("missing-key", f"`{path}` has no {names}", node.name_at)
        return None

    def place(self, path: str, node: Node) -> None:
        """Remembers where a value stands, and those in it that have names."""
        self.places[path] = node.where
        if isinstance(node.value, dict):
            for key, child in node.value.items():
                self.places[f"{path}.{key}"] = child.where

    def value(self, hint: Any, node: Node, path: str) -> Any:
        """A value of type `hint`; None, and an error at its place, if it is none."""
        self.place(path, node)
        try:
            value = msgspec.convert(node.plain(), type=hint, strict=True)
        except msgspec.ValidationError as error:
            self.say_wrong(hint, node, path, str(error))
            return None
        if not _finite(value):
            self.say("value", f"`{path}` is {shown(node)}: expected a finite number", node.where)
            return None
        return value

    def say_wrong(self, hint: Any, node: Node, path: str, text: str) -> None:
        """Says that a value is not of its type, at the innermost place that is known."""
        words, _, inner = text.partition(" - at ")
        each = values_of(hint)
        if inner.startswith("`$[...]") and each and isinstance(node.value, dict):
            # It does not say which value: each is looked at alone.
            for key, child in node.value.items():
                self.value(each, child, f"{path}.{key}")
            return
        node, inside = locate(node, inner.strip("`"))
        expected = TYPE_NAME.sub(lambda name: TYPES.get(name[0], name[0]), words)
        expected = expected.replace("Expected", "expected").replace("`", "")
        advice = None
        if "unknown field" in words and isinstance(node.value, dict):
            unknown = words.split("`")[1]
            node = node.value.get(unknown, node)
            message = f"`{unknown}` is no key of {path}{inside}"
            self.say("unknown-key", message, node.name_at)
            return
        if "enum value" in words:
            names = choices(hint)
            expected = f"expected {', '.join(f'`{name}`' for name in names)}"
            advice = nearest(str(node.value), names, only_near=True)
        found = "a text" if path.startswith("notify") else shown(node)
        self.say("value", f"`{path}{inside}` is {found}: {expected}", node.where, advice)

    def document(self, name: str, where: Where) -> Node | None:
        """The mapping in another file of the commit, read once; None if that cannot be."""
        if not self.inside_repository(name, where):
            return None
        if name not in self.documents:
            self.documents[name] = self._document(name, where)
        return self.documents[name]

    def _document(self, name: str, where: Where) -> Node | None:
        if not name.endswith((".toml", ".yml", ".yaml")):
            message = f"`{name}`: expected keys and values, or a .toml, .yml or .yaml file"
            self.say("file-kind", message, where)
            return None
        try:
            text = self.read(name)
            if text is None:
                hint = f"next: git add {name}, or write the settings inline"
                self.say("file-missing", f"{name} is not in this commit", where, hint)
                return None
            return parse_toml(text, name) if name.endswith(".toml") else parse_yaml(text, name)
        except UsageError as error:
            self.findings.extend(error.findings)
            return None

    def inside_repository(self, path: str, where: Where) -> bool:
        """False, and an error, for a path that leads out."""
        parts = PurePosixPath(path).parts
        if not path or path.startswith("/") or ".." in parts or re.search(r"\\|^[A-Za-z]:", path):
            message = f"`{path[:LONGEST_SHOWN]}` leads out of the repository"
            self.say("path", message, where, "use a relative path with `/`")
            return False
        return self.on_one_line(path, where)

    def on_one_line(self, text: str, where: Where) -> bool:
        """False, and an error, for a text with signs that a terminal or a log would obey."""
        found = CONTROL.search(text)
        if found:
            message = f"`{clean(text[:LONGEST_SHOWN])}` has a control character"
            self.say("control", f"{message}, U+{ord(found[0]):04X}", where, "remove it")
        return not found


def merge(below: Mapping[str, Node], above: Mapping[str, Node]) -> dict[str, Node]:
    """`above` over `below`, mappings merged all the way down."""
    merged = dict(below)
    for key, node in above.items():
        old = merged.get(key)
        if old and isinstance(old.value, dict) and isinstance(node.value, dict):
            node = Node(merge(old.value, node.value), node.where, node.key)  # noqa: PLW2901
        elif old and isinstance(old.value, dict) and node.value is None:
            continue
        merged[key] = node
    return merged


def nearest(key: str, known: Collection[str], *, only_near: bool = False) -> str | None:
    """What may have been meant."""
    former = FORMER.get(key)
    near = [former] if former in known else difflib.get_close_matches(key[:64], known, n=1)
    if near:
        return f"did you mean `{near[0]}`?"
    return None if only_near else f"known: {', '.join(known)}"


def shown(node: Node) -> str:
    """A value as it may be written, cut short."""
    if isinstance(node.value, dict):
        return "a mapping"
    text = json.dumps(node.plain(), ensure_ascii=False)
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def locate(node: Node, path: str) -> tuple[Node, str]:
    """The node that a path of msgspec (`$[0].repeats`) leads to, and the path without the `$`."""
    walked = ""
    for step in STEP.finditer(path):
        key, index = step[1], step[2]
        if key is not None and isinstance(node.value, dict) and key in node.value:
            node = node.value[key]
        elif index is not None and isinstance(node.value, list) and int(index) < len(node.value):
            node = node.value[int(index)]
        else:
            break
        walked += step[0]
    return node, walked


@cache
def hints_of(kind: Any) -> dict[str, Any]:
    """The types of a dataclass' fields, with what is said about them."""
    return get_type_hints(kind, include_extras=True)


@cache
def required_of(kind: Any) -> frozenset[str]:
    """The fields of a dataclass that have no default."""
    return frozenset(
        f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING
    )


def choices(hint: Any) -> list[str]:
    """The values that a choice allows, wherever in the type it stands."""
    if get_origin(hint) is Literal:
        return [str(value) for value in get_args(hint)]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return [str(member.value) for member in hint]
    inner = get_args(hint)[:1] if get_origin(hint) is Annotated else get_args(hint)
    return [name for part in inner for name in choices(part)]


def values_of(hint: Any) -> Any:
    """The type of the values of a mapping's type; None of another."""
    if get_origin(hint) is Annotated:
        return values_of(get_args(hint)[0])
    return get_args(hint)[1] if get_origin(hint) is dict else None


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, tuple | list):
        return all(map(_finite, value))
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    return True
