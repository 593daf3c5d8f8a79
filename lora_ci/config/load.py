"""The config file → `Config`, or every error in it at once."""

from __future__ import annotations

import dataclasses
import difflib
import re
import tomllib
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any, get_type_hints

import msgspec

from lora_ci.config.document import Node, Where, parse_yaml, problem
from lora_ci.config.model import FILE_NAME, VERSION, Config, Lora
from lora_ci.core.errors import UsageError
from lora_ci.core.finding import Finding

ReadFile = Callable[[str], bytes | None]

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
GATE = re.compile(r"(>=|<=|>|<) *-?\d+(\.\d+)?")
SECTIONS = ("train", "validate", "qa", "optimize", "deploy")
ROOT_KEYS = ("version", "defaults", "loras")


def load_config(text: bytes, file: str = FILE_NAME, read: ReadFile = lambda _: None) -> Config:
    """The config in `text`; `read` gives other files of the same commit.

    Raises:
        UsageError: with one finding for each thing that is wrong.
    """
    reader = _Reader(file, read)
    config = reader.config(parse_yaml(text, file))
    if reader.findings:
        # What is wrong in `defaults` is wrong for every LoRA; it is said once.
        told = {(f.rule, f.line, f.column, f.hint): f for f in reversed(reader.findings)}
        findings = tuple(f for f in reader.findings if f in told.values())
        raise UsageError(findings[0].message, findings=findings)
    return config


class _Reader:
    """Walks the nodes; collects findings and places."""

    def __init__(self, file: str, read: ReadFile) -> None:
        self.file = file
        self.read = read
        self.findings: list[Finding] = []
        self.places: dict[str, Where] = {}

    def config(self, root: Node) -> Config:
        top = self.mapping(root, "the config", ROOT_KEYS)
        self.version(top.get("version"), root.where)
        defaults = self.mapping(top.get("defaults"), "`defaults`", None)
        loras = self.mapping(top.get("loras"), "`loras`", None)
        if not loras and not any(f.rule == "config.value" for f in self.findings):
            where = top["loras"].where if "loras" in top else root.where
            hint = "write one under `loras:`, or: lora-ci init"
            self.say("no-loras", "no LoRA is configured", where, hint)
        read = {name: self.lora(name, node, defaults) for name, node in loras.items()}
        return Config(loras={k: v for k, v in read.items() if v}, places=self.places)

    def version(self, node: Node | None, root: Where) -> None:
        if node is None:
            self.say("version", f"`version` is missing; expected `version: {VERSION}`", root)
        elif node.value != VERSION:
            message = f"version {node.value!r} is not known to this lora-ci; it reads {VERSION}"
            self.say("version", message, node.where, "next: pip install --upgrade lora-ci")

    def lora(self, name: str, node: Node, defaults: dict[str, Node]) -> Lora | None:
        path = f"loras.{name}"
        before = len(self.findings)
        if not NAME.fullmatch(name):
            message = (
                f"`{name[:64]}` is no LoRA name; expected small letters, digits, `.`, `_`, `-`"
            )
            self.say("name", message, node.where)
        merged = self.merge(defaults, self.mapping(node, f"`{path}`", None))
        self.place(path, node)
        known = [f.name for f in dataclasses.fields(Lora) if f.name != "name"]
        self.refuse_unknown(merged, known, path)
        merged = {key: value for key, value in merged.items() if key in known}
        merged.setdefault("trigger", Node(name, node.where))
        for key in ("dataset", "base_model"):
            if key not in merged:
                hint = f"next: add `{key}:` below `{name}:`"
                self.say("missing-key", f"`{path}` has no `{key}`", node.where, hint)
        hints = get_type_hints(Lora, include_extras=True)
        values: dict[str, Any] = {"name": name}
        for key, child in merged.items():
            self.place(f"{path}.{key}", child)
            if key in SECTIONS:
                values[key] = self.section(hints[key], child, f"{path}.{key}")
            else:
                values[key] = self.leaf(hints[key], child, f"{path}.{key}")
        for key in ("dataset", "base_model"):
            if key in merged:
                self.inside_repository(values[key], merged[key].where)
        if "qa" in merged:
            self.qa(values["qa"], merged["qa"])
        return Lora(**values) if len(self.findings) == before else None

    def section(self, kind: Any, node: Node, path: str) -> Any:
        """A settings dataclass from a mapping, or from the TOML or YAML file that a text names."""
        if isinstance(node.value, str):
            node = self.included(node.value, node.where)
        given = self.mapping(node, f"`{path}`", [f.name for f in dataclasses.fields(kind)])
        hints = get_type_hints(kind, include_extras=True)
        values = {}
        for key, child in given.items():
            self.place(f"{path}.{key}", child)
            before = len(self.findings)
            value = self.leaf(hints[key], child, f"{path}.{key}")
            if len(self.findings) == before:
                values[key] = value
        return kind(**values)

    def included(self, name: str, where: Where) -> Node:
        """The mapping in another file of the commit."""
        empty = Node({}, where)
        if not self.inside_repository(name, where):
            return empty
        text = self.read(name)
        if text is None:
            hint = f"next: git add {name}, or write the settings inline"
            self.say("file-missing", f"{name} is not in this commit", where, hint)
            return empty
        if name.endswith((".yml", ".yaml")):
            return parse_yaml(text, name)
        if not name.endswith(".toml"):
            self.say("file-kind", f"{name}: expected a .toml, .yml or .yaml file", where)
            return empty
        try:
            values = tomllib.loads(text.decode())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            self.say("syntax", f"not TOML: {error}", Where(name, 1, 1))
            return empty
        lines = text.decode().splitlines()
        return Node(
            {k: _toml_node(k, v, name, lines) for k, v in values.items()}, Where(name, 1, 1)
        )

    def qa(self, settings: Any, node: Node) -> None:
        """Gates must be conditions, references and the embedder's folder must be ours."""
        children = node.value if isinstance(node.value, dict) else {}
        if settings is None:
            return
        gates = children.get("gates", node)
        for metric, condition in settings.gates.items():
            if not GATE.fullmatch(condition):
                inner = gates.value if isinstance(gates.value, dict) else {}
                where = inner[metric].where if metric in inner else gates.where
                self.say("gate", f'gate `{metric}: {condition}`: expected such as ">= 0.7"', where)
        paths = {"references": settings.references}
        if settings.embedder.startswith("path:"):
            paths["embedder"] = settings.embedder.removeprefix("path:")
        for key, path in paths.items():
            if path is not None:
                self.inside_repository(path, children.get(key, node).where)

    def leaf(self, hint: Any, node: Node, path: str) -> Any:
        try:
            return msgspec.convert(node.plain(), type=hint, strict=True)
        except msgspec.ValidationError as error:
            wanted = str(error).replace("Expected", "expected").split(" - at ")[0]
            found = str(node.plain())
            shown = found if len(found) < 60 else found[:57] + "…"
            self.say("value", f"`{path}` is {shown!r}: {wanted}", node.where)
            return None

    def mapping(self, node: Node | None, what: str, known: Any) -> dict[str, Node]:
        if node is None or node.value is None:
            return {}
        if not isinstance(node.value, dict):
            kind = "a list" if isinstance(node.value, list) else repr(node.value)
            self.say("value", f"{what} is {kind}: expected keys and values", node.where)
            return {}
        if known is None:
            return node.value
        self.refuse_unknown(node.value, known, what.strip("`"))
        return {key: child for key, child in node.value.items() if key in known}

    def refuse_unknown(self, given: dict[str, Node], known: Any, what: str) -> None:
        for key, node in given.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(known)}"
                self.say("unknown-key", f"`{key}` is no key of {what}", node.where, hint)

    def merge(self, below: dict[str, Node], above: dict[str, Node]) -> dict[str, Node]:
        """`above` over `below`, mappings merged all the way down."""
        merged = dict(below)
        for key, node in above.items():
            old = merged.get(key)
            if old and isinstance(old.value, dict) and isinstance(node.value, dict):
                node = Node(self.merge(old.value, node.value), node.where)  # noqa: PLW2901
            merged[key] = node
        return merged

    def inside_repository(self, path: Any, where: Where) -> bool:
        pure = PurePosixPath(str(path))
        if pure.is_absolute() or ".." in pure.parts or "\0" in str(path) or "\\" in str(path):
            self.say("path", f"`{path}` leads out of the repository", where, "use a relative path")
            return False
        return True

    def place(self, path: str, node: Node) -> None:
        self.places[path] = node.where

    def say(self, rule: str, message: str, where: Where, hint: str | None = None) -> None:
        self.findings.append(problem(rule, message, where, hint))


def _toml_node(key: str, value: Any, file: str, lines: list[str]) -> Node:
    """tomllib has no marks: the line is the first one that sets the key."""
    pattern = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=")
    line = next((i for i, text in enumerate(lines, 1) if pattern.match(text)), 1)
    where = Where(file, line, 1)
    if isinstance(value, dict):
        return Node({k: _toml_node(k, v, file, lines) for k, v in value.items()}, where)
    if isinstance(value, list):
        return Node([_toml_node(key, item, file, lines) for item in value], where)
    return Node(value if isinstance(value, (str, int, float, bool)) else str(value), where)
