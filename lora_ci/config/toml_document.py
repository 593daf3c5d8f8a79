"""TOML text → the same nodes as YAML gives. `tomllib` reads it; a scan of ours finds the places."""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from typing import Any

from lora_ci.config.document import (
    FLATTER,
    MAX_DEPTH,
    READ_AGAIN,
    TOO_DEEP,
    Node,
    Where,
    decode,
    refused,
)

# Where things stand: keys and list indices from the top → offsets of the name and of the value.
Path = tuple[str | int, ...]
Places = dict[Path, tuple[int, int]]

AT = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
BLANK = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*+")
SPACES = re.compile(r"[ \t]*+")
KEY = re.compile(r"""[A-Za-z0-9_-]++|"(?:[^"\\\n]++|\\.)*+"|'[^'\n]*+'""")
STRING = re.compile(
    r'"""(?:[^"\\]++|\\.|"(?!""))*+"{3,5}'
    r"|'''(?:[^']++|'(?!''))*+'{3,5}"
    r'|"(?:[^"\\\n]++|\\.)*+"'
    r"|'[^'\n]*+'",
    re.DOTALL,
)
BARE = re.compile(r"[^,\]}#\n]++")


def parse_toml(data: bytes, file: str) -> Node:
    """The document as nodes. Raises UsageError with a finding at the place that is wrong."""
    text = decode(data, file).replace("\r\n", "\n")
    starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def where(offset: int) -> Where:
        line = bisect_right(starts, offset)
        return Where(file, line, offset - starts[line - 1] + 1)

    scan = _Scan(text)
    try:
        scan.document()
    except _UnreadableError as problem:
        if problem.too_deep:
            raise refused("too-deep", TOO_DEEP, where(scan.at), FLATTER) from problem
    try:
        values = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        message = str(error)
        found = AT.search(message)
        place = where(len(text))
        if found and found[1]:
            place = Where(file, int(found[1]), int(found[2]))
        elif not found:
            place = Where(file, 1, 1)
        message = f"not TOML: {AT.sub('', message)}"
        raise refused("syntax", message, place, READ_AGAIN) from error
    return _node(values, (), scan.places, where)


def _node(value: Any, path: Path, places: Places, where: Any) -> Node:
    name, at = places.get(path, (0, 0))
    key = where(name) if path and isinstance(path[-1], str) else None
    if isinstance(value, dict):
        inner = {k: _node(v, (*path, k), places, where) for k, v in value.items()}
        return Node(inner, where(at), key)
    if isinstance(value, list):
        items = [_node(v, (*path, i), places, where) for i, v in enumerate(value)]
        return Node(items, where(at), key)
    known = isinstance(value, str | float | bool) or (isinstance(value, int) and abs(value) < 2**63)
    return Node(value if known else str(value), where(at), key)


class _UnreadableError(Exception):
    """The scan stops; tomllib will say what is wrong, unless it is only too deep."""

    def __init__(self, *, too_deep: bool = False) -> None:
        super().__init__()
        self.too_deep = too_deep


class _Scan:
    """Takes more than TOML allows; finds where each key and value begins.

    It comes before tomllib, whose time grows with the square of the parts of one dotted key.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.places: Places = {}
        self.counts: dict[Path, int] = {}

    def document(self) -> None:
        table: Path = ()
        while self.skip(BLANK) < len(self.text):
            start = self.at
            if self.text.startswith("[[", start):
                table = self.header(2)
            elif self.text.startswith("[", start):
                table = self.header(1)
            else:
                self.pair(table, 0)

    def header(self, brackets: int) -> Path:
        """`[a.b]` or `[[a.b]]`: the path below which the next keys stand."""
        start = self.at
        self.at += brackets
        parts = self.key()
        self.expect("]" * brackets)
        path: Path = ()
        for i, part in enumerate(parts):
            path = (*path, part)
            self.places.setdefault(path, (start, start))
            last = i == len(parts) - 1
            if last and brackets == 2:
                self.counts[path] = self.counts.get(path, -1) + 1
            if path in self.counts:
                path = (*path, self.counts[path])
                self.places.setdefault(path, (start, start))
        return path

    def pair(self, table: Path, depth: int) -> None:
        start = self.at
        path = table
        parts = self.key()
        self.expect("=")
        self.skip(SPACES)
        for part in parts:
            path = (*path, part)
            self.places.setdefault(path, (start, self.at))
        self.value(path, depth)

    def key(self) -> list[str]:
        parts: list[str] = []
        while True:
            self.skip(SPACES)
            found = KEY.match(self.text, self.at)
            if not found:
                raise _UnreadableError
            self.at = found.end()
            parts.append(_key(found[0]))
            if len(parts) > MAX_DEPTH:
                raise _UnreadableError(too_deep=True)
            self.skip(SPACES)
            if not self.text.startswith(".", self.at):
                return parts
            self.at += 1

    def value(self, path: Path, depth: int) -> None:
        if depth > MAX_DEPTH or len(path) > 2 * MAX_DEPTH:
            raise _UnreadableError(too_deep=True)
        first = self.text[self.at : self.at + 1]
        if first in ("[", "{"):
            self.at += 1
            self.inner(path, depth, "]" if first == "[" else "}")
            return
        found = (STRING if first in ("'", '"') else BARE).match(self.text, self.at)
        if not found:
            raise _UnreadableError
        self.at = found.end()

    def inner(self, path: Path, depth: int, end: str) -> None:
        """The items of an array, or the pairs of an inline table."""
        index = 0
        while True:
            start = self.skip(BLANK)
            if self.text.startswith(end, start):
                self.at += 1
                return
            if end == "]":
                self.places[*path, index] = (start, start)
                self.value((*path, index), depth + 1)
                index += 1
            else:
                self.pair(path, depth + 1)
            self.skip(BLANK)
            if self.text.startswith(",", self.at):
                self.at += 1
            elif not self.text.startswith(end, self.at):
                raise _UnreadableError

    def skip(self, pattern: re.Pattern[str]) -> int:
        found = pattern.match(self.text, self.at)
        self.at = found.end() if found else self.at
        return self.at

    def expect(self, sign: str) -> None:
        self.skip(SPACES)
        if not self.text.startswith(sign, self.at):
            raise _UnreadableError
        self.at += len(sign)


def _key(text: str) -> str:
    if text[0] not in "\"'":
        return text
    try:
        return str(tomllib.loads(f"k = {text}")["k"])
    except ValueError as error:
        raise _UnreadableError from error
