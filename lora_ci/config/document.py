"""YAML 1.2 text → a tree of nodes that know their line. Hostile documents are refused."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import yaml
from yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamStartEvent,
)

from lora_ci.core.errors import UsageError
from lora_ci.core.finding import Finding, Severity

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_FINDINGS = 100
TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
FLATTER = "see that line: brackets may be left open; a section can stand in a file of its own"
READ_AGAIN = "see that line, and the one above it"
# Some builds of PyYAML have no libyaml.
LOADER = getattr(yaml, "CLoader", yaml.Loader)

# Byte order marks, and how the first letter of a text looks without one.
FOREIGN = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
FOREIGN_START = re.compile(rb"[^\0]\0[^\0]\0|\0[^\0]\0[^\0]", re.DOTALL)
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
CONFLICT = re.compile(r"^(<{7}|\|{7}|={7}|>{7})(?=[ \r\n]|\Z)", re.MULTILINE)

# The core schema of YAML 1.2.2, chapter 10.3.
NULL = frozenset(("", "~", "null", "Null", "NULL"))
TRUE, FALSE = frozenset(("true", "True", "TRUE")), frozenset(("false", "False", "FALSE"))
INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
MAYBE_NUMBER = frozenset("0123456789+-.")

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Where:
    """Where a value stands; line and column count from 1."""

    file: str
    line: int | None = None
    column: int | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A value of the document and where it stands; `key` is where its name does."""

    value: Scalar | list[Node] | dict[str, Node]
    where: Where
    key: Where | None = None

    def plain(self) -> object:
        """The value without its lines."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    @property
    def name_at(self) -> Where:
        """Where the name of the value stands; where the value does if it has none."""
        return self.key or self.where


def parse_yaml(text: bytes, file: str, max_bytes: int = MAX_BYTES) -> Node:
    """The document as nodes. Raises UsageError with a finding at each place that is wrong."""
    source = decode(text, file, max_bytes)
    reader = _Reader(file, yaml.parse(source, Loader=LOADER))
    try:
        node = reader.document()
    except yaml.MarkedYAMLError as error:
        if "nesting depth" in str(error.problem):
            raise refused("too-deep", TOO_DEEP, Where(file, 1, 1), FLATTER) from error
        mark = error.problem_mark or error.context_mark
        where = Where(file, mark.line + 1, mark.column + 1) if mark else Where(file, 1, 1)
        message = f"not YAML: {error.problem or error.context}"
        raise refused("syntax", message, where, READ_AGAIN) from error
    except yaml.YAMLError as error:
        message = f"not YAML: {str(error).splitlines()[0]}"
        raise refused("syntax", message, Where(file, 1, 1), READ_AGAIN) from error
    if reader.findings:
        raise UsageError(reader.findings[0].message, findings=bounded(reader.findings))
    return node


def decode(data: bytes, file: str, max_bytes: int = MAX_BYTES) -> str:
    """A config file's text.

    Raises:
        UsageError: if it is too long, not UTF-8, not text, or a merge was left unfinished.
    """
    start, name = Where(file, 1, 1), shlex.quote(file)
    if len(data) > max_bytes:
        message = f"larger than the {max_bytes} bytes that are read"
        hint = f"next: ls -l {name}; what it was at the last commit: git show HEAD:{name}"
        raise refused("too-large", message, start, hint)
    foreign = next((kind for mark, kind in FOREIGN if data.startswith(mark)), None)
    if foreign is None and FOREIGN_START.match(data):
        foreign = "UTF-16"
    if foreign:
        raise refused("encoding", f"the file is {foreign}, not UTF-8", start, _anew(name, foreign))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        message = f"not UTF-8: {error.reason} (byte 0x{data[error.start]:02x})"
        where = place_of(before, len(before), file)
        raise refused("encoding", message, where, _anew(name, "ISO-8859-1")) from error
    if found := CONTROL.search(text):
        message = f"control character U+{ord(found[0]):04X}"
        raise refused("encoding", message, place_of(text, found.start(), file), "remove it")
    if found := CONFLICT.search(text):
        message = f"`{found[1]}`: a merge conflict is not resolved"
        hint = f"next: edit {file}, then git add {file}"
        raise refused("merge-conflict", message, place_of(text, found.start(), file), hint)
    return text


def _anew(name: str, encoding: str) -> str:
    return f"write it anew as UTF-8; next: iconv -f {encoding} -t UTF-8 {name}"


def place_of(text: str, offset: int, file: str) -> Where:
    """The line and column of a character."""
    return Where(file, text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))


def problem(rule: str, message: str, where: Where, hint: str | None = None) -> Finding:
    """An error finding at a place in the config."""
    return Finding(
        rule=f"config.{rule}",
        severity=Severity.ERROR,
        message=message,
        file=where.file,
        line=where.line,
        column=where.column,
        hint=hint,
    )


def refused(rule: str, message: str, where: Where, hint: str) -> UsageError:
    """One error that ends the reading of the document."""
    return UsageError(message, findings=(problem(rule, message, where, hint),))


def bounded(findings: list[Finding]) -> tuple[Finding, ...]:
    """The first of the findings, and how many more there are."""
    if len(findings) <= MAX_FINDINGS:
        return tuple(findings)
    last = findings[MAX_FINDINGS - 1]
    where = Where(last.file or "", last.line, last.column)
    more = problem("more", f"… and {len(findings) - MAX_FINDINGS} more", where)
    return (*findings[:MAX_FINDINGS], more)


class _Reader:
    """Takes events one by one; what is refused is collected."""

    def __init__(self, file: str, events: Iterable[Event]) -> None:
        self.file = file
        self.events: Iterator[Event] = iter(events)
        self.findings: list[Finding] = []

    def document(self) -> Node:
        start = next(self.events)
        if isinstance(start, StreamStartEvent):
            start = next(self.events)
        if not isinstance(start, DocumentStartEvent):
            return Node({}, Where(self.file, 1, 1))
        node = self.node(next(self.events), 0, None)
        next(self.events)
        after = next(self.events)
        if isinstance(after, DocumentStartEvent):
            self.refuse("documents", "a second document; one file holds one", self.where(after))
        return node

    def node(self, event: Event, depth: int, key: Where | None) -> Node:
        where = self.where(event)
        if depth > MAX_DEPTH:
            raise refused("too-deep", TOO_DEEP, where, FLATTER)
        self.check(event, where)
        match event:
            case ScalarEvent(style=style, value=text):
                return Node(text if style else self.scalar(text, where), where, key)
            case MappingStartEvent():
                return Node(self.mapping(depth), where, key)
            case CollectionStartEvent():
                items = []
                while not isinstance(inner := next(self.events), SequenceEndEvent):
                    items.append(self.node(inner, depth + 1, None))
                return Node(items, where, key)
            case _:
                return Node(None, where, key)

    def mapping(self, depth: int) -> dict[str, Node]:
        """Text keys, each only once."""
        items: dict[str, Node] = {}
        while not isinstance(event := next(self.events), MappingEndEvent):
            name = self.node(event, depth + 1, None)
            value = self.node(next(self.events), depth + 1, name.where)
            key = name.value
            if not isinstance(key, str) or isinstance(event, AliasEvent):
                hint = f'write "{event.value[:40]}"' if isinstance(event, ScalarEvent) else None
                self.refuse("key", "a key must be plain text", name.where, hint)
            elif key == "<<" and isinstance(event, ScalarEvent) and not event.style:
                hint = "write the keys out, or use `defaults`"
                self.refuse("alias", "merge keys `<<` are not allowed", name.where, hint)
            elif key in items:
                first = items[key].name_at.line
                message = f"`{key[:64]}` stands twice (first in line {first})"
                self.refuse("duplicate-key", message, name.where, "remove one of them")
            else:
                items[key] = value
        return items

    def check(self, event: Event, where: Where) -> None:
        """Anchors, aliases and tags: they make a document mean more than it shows."""
        if not isinstance(event, NodeEvent):
            return
        if event.anchor is not None:
            sign = "*" if isinstance(event, AliasEvent) else "&"
            message = f"`{sign}{event.anchor[:40]}`: anchors and aliases are not allowed"
            self.refuse("alias", message, where, "write the value out, or use `defaults`")
        tag = getattr(event, "tag", None)
        if tag is not None:
            message = f"tag `{tag[:80]}`: tags are not allowed"
            self.refuse("tag", message, where, "remove it")

    def scalar(self, text: str, where: Where) -> Scalar:
        """What plain text means: `no`, `on` and `1_000` are text, `1e-4` is a number."""
        if text[:1] in MAYBE_NUMBER and text:
            return self.number(text, where)
        if text in NULL:
            return None
        if text in TRUE:
            return True
        return False if text in FALSE else text

    def number(self, text: str, where: Where) -> Scalar:
        if INTEGER.fullmatch(text):
            value = int(text, {"0x": 16, "0o": 8}.get(text[:2], 10)) if len(text) < 100 else 2**63
            if abs(value) < 2**63:
                return value
            self.refuse("number", f"`{text[:40]}` has more than 64 bits", where)
            return None
        if FLOAT.fullmatch(text):
            return float(text)
        if INFINITE.fullmatch(text):
            return float(text.replace(".", ""))
        return text

    def where(self, event: Event) -> Where:
        mark = event.start_mark
        return Where(self.file, mark.line + 1, mark.column + 1) if mark else Where(self.file)

    def refuse(self, rule: str, message: str, where: Where, hint: str | None = None) -> None:
        self.findings.append(problem(rule, message, where, hint))
