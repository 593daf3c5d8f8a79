"""A config with the values of one variant in place of its matrix; the rest of the file stays.

The text is edited where the parser says that keys and values stand, so that comments, order and
layout of everything else are kept. The result is read again: it must say what the variant said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher, unified_diff
from typing import Any

import msgspec
import yaml

from lora_ci.config.document import decode, parse_yaml
from lora_ci.config.load import load_config
from lora_ci.config.model import FILE_NAME, Config, Lora
from lora_ci.config.reading import ReadFile
from lora_ci.core.errors import UsageError
from lora_ci.core.sweep import Suggestion

INDENT = 2


class Unsettled(Exception):  # noqa: N818 - an answer, not a fault
    """Why the file is not changed."""


def suggest_variant(config: Config, variant: Lora, read: ReadFile) -> Suggestion:
    """The change of the config file that makes the variant the LoRA itself.

    `read` gives the files that `config` was made of.

    Raises:
        Unsettled: the matrix stands where it cannot be replaced without changing more.
    """
    data = read(FILE_NAME)
    if data is None or variant.variant_of is None:
        raise Unsettled(f"{FILE_NAME} has no such matrix")
    old = decode(data, FILE_NAME)
    new = _settled(old, variant.variant_of, _written(data, variant))
    _check(config, variant, new, read)
    return make_suggestion(old, new)


def make_suggestion(old: str, new: str) -> Suggestion:
    """The shortest run of lines that makes one text the other."""
    before, after = old.splitlines(), new.splitlines()
    matcher = SequenceMatcher(a=before, b=after, autojunk=False)
    moved = [code for code in matcher.get_opcodes() if code[0] != "equal"]
    if not moved:
        raise Unsettled("nothing would change")
    _, first, _, start, _ = moved[0]
    _, _, last, _, end = moved[-1]
    diff = unified_diff(before, after, f"a/{FILE_NAME}", f"b/{FILE_NAME}", lineterm="")
    return Suggestion(
        path=FILE_NAME,
        first_line=first + 1,
        last_line=last,
        lines=tuple(after[start:end]),
        diff="\n".join(diff),
    )


def apply_suggestion(text: str, suggestion: Suggestion) -> str:
    """The text with the change made; its ends of lines stay."""
    lines = text.splitlines(keepends=True)
    end = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    lines[suggestion.first_line - 1 : suggestion.last_line] = [
        line + end for line in suggestion.lines
    ]
    return "".join(lines)


def _check(config: Config, variant: Lora, text: str, read: ReadFile) -> None:
    """Raises Unsettled unless the new text says what the variant said, and no more."""

    def now(name: str) -> bytes | None:
        return text.encode() if name == FILE_NAME else read(name)

    try:
        made = load_config(text.encode(), FILE_NAME, now)
    except UsageError as error:
        raise Unsettled(f"the config would not be valid: {error}") from error
    name = variant.variant_of or ""
    wanted = {
        key: replace(lora, needs=_needs(lora, config, name))
        for key, lora in config.loras.items()
        if lora.variant_of != name
    }
    wanted[name] = replace(variant, name=name, variant={}, variant_of=None)
    if made.loras != wanted:
        raise Unsettled("the rest of the file gives some of these settings too")


def _needs(lora: Lora, config: Config, name: str) -> tuple[str, ...]:
    """What a LoRA needs once the variants of `name` are one."""
    of = ((needed, config.loras[needed].variant_of) for needed in lora.needs)
    return tuple(dict.fromkeys(name if its == name else needed for needed, its in of))


def _written(data: bytes, variant: Lora) -> dict[str, str]:
    """The chosen values as they are written in the matrix, by path of the key."""
    root = _compose(decode(data, FILE_NAME))
    plain: Any = parse_yaml(data, FILE_NAME).plain()
    axes = _matrix(_lora(root, variant.variant_of or ""))[1]
    given = plain["loras"][variant.variant_of]["matrix"]
    text = decode(data, FILE_NAME)
    found: dict[str, str] = {}
    for key, value in variant.variant.items():
        node = dict(_pairs(axes)).get(key)
        wanted = msgspec.json.decode(msgspec.json.encode(value))
        for item, its in zip(node.value if node else (), given[key], strict=True):
            if its == wanted and isinstance(its, bool) == isinstance(wanted, bool):
                found[key] = text[item.start_mark.index : _last(item)]
    return found


@dataclass(slots=True)
class _Edits:
    """Replacements of spans of a text, made from its end."""

    text: str
    spans: list[tuple[int, int, str]] = field(default_factory=list)

    def put(self, start: int, end: int, new: str) -> None:
        self.spans.append((start, end, new))

    def insert_below(self, index: int, lines: list[str]) -> None:
        """New lines below the one that holds `index`."""
        at = self._line_end(index)
        self.put(at, at, "".join(f"{self._newline}{line}" for line in lines))

    def replace_lines(self, start: int, end: int, lines: list[str]) -> None:
        """The lines from the one of `start` to the one of `end` become others, or go."""
        first = self.text.rfind("\n", 0, start) + 1
        last = self._line_end(end)
        if lines:
            self.put(first, last, self._newline.join(lines))
        else:
            self.put(first, min(len(self.text), last + len(self._newline)), "")

    def made(self) -> str:
        text = self.text
        for start, end, new in sorted(self.spans, reverse=True):
            text = text[:start] + new + text[end:]
        return text

    @property
    def _newline(self) -> str:
        return "\r\n" if "\r\n" in self.text else "\n"

    def _line_end(self, index: int) -> int:
        end = self.text.find("\n", index)
        end = len(self.text) if end < 0 else end
        return end - 1 if self.text[end - 1 : end] == "\r" else end


def _settled(text: str, name: str, values: Mapping[str, str]) -> str:
    """The text with the values in their sections, and without the matrix."""
    lora = _lora(_compose(text), name)
    key, axes = _matrix(lora)
    edits = _Edits(text)
    sections: dict[str, dict[str, str]] = defaultdict(dict)
    for path, value in values.items():
        section, _, last = path.rpartition(".")
        sections[section][last] = value
    absent: list[tuple[str, dict[str, str]]] = []
    given = dict(_pairs(lora))
    for section, its in sections.items():
        node = lora if not section else given.get(section)
        if node is None:
            absent.append((section, its))
        else:
            rest = _fill(edits, node, its, section or name, here=not section)
            absent += [("", rest)] if rest else []
    if lora.flow_style:
        _replace_in_flow(edits, key.start_mark.index, _last(axes), _flow_pieces(absent))
    else:
        indent = " " * key.start_mark.column
        edits.replace_lines(key.start_mark.index, _last(axes), _block_lines(absent, indent))
    return edits.made()


def _fill(
    edits: _Edits, node: yaml.Node, values: Mapping[str, str], what: str, *, here: bool
) -> dict[str, str]:
    """Puts values into a section that is there; returns those that belong where the matrix was.

    `here`: the section is the LoRA itself.
    """
    if isinstance(node, yaml.ScalarNode) and node.tag.endswith(":null"):
        raise Unsettled(f"`{what}` is empty: write a value below it, or remove it")
    if not isinstance(node, yaml.MappingNode):
        raise Unsettled(f"`{what}` is a file of its own, which other LoRAs may share")
    given = dict(_pairs(node))
    new = {key: value for key, value in values.items() if key not in given}
    for key, value in values.items():
        if key in given:
            edits.put(given[key].start_mark.index, _last(given[key]), value)
    if here or not new:
        return new
    pairs = _pairs(node)
    if node.flow_style:
        told = ", ".join(f"{key}: {value}" for key, value in new.items())
        at = _last(pairs[-1][1]) if pairs else node.start_mark.index + 1
        edits.put(at, at, f", {told}" if pairs else told)
    else:
        indent = " " * node.start_mark.column
        edits.insert_below(_last(pairs[-1][1]), [f"{indent}{k}: {v}" for k, v in new.items()])
    return {}


def _block_lines(absent: list[tuple[str, dict[str, str]]], indent: str) -> list[str]:
    lines: list[str] = []
    for section, its in absent:
        inner = indent + " " * INDENT if section else indent
        lines += [f"{indent}{section}:"] if section else []
        lines += [f"{inner}{key}: {value}" for key, value in its.items()]
    return lines


def _flow_pieces(absent: list[tuple[str, dict[str, str]]]) -> str:
    pieces = []
    for section, its in absent:
        told = ", ".join(f"{key}: {value}" for key, value in its.items())
        pieces.append(f"{section}: {{{told}}}" if section else told)
    return ", ".join(pieces)


def _replace_in_flow(edits: _Edits, start: int, end: int, new: str) -> None:
    """An entry of a mapping in braces becomes another, or goes with one of its commas."""
    if new:
        return edits.put(start, end, new)
    text = edits.text
    after = end + len(text[end:]) - len(text[end:].lstrip())
    if text[after : after + 1] == ",":
        after += 1
        return edits.put(start, after + len(text[after:]) - len(text[after:].lstrip(" ")), "")
    before = len(text[:start].rstrip())
    return edits.put(before - (text[before - 1] == ","), end, "")


def _compose(text: str) -> yaml.Node:
    node = yaml.compose(text, yaml.SafeLoader)
    if node is None:
        raise Unsettled(f"{FILE_NAME} is empty")
    return node


def _lora(root: yaml.Node, name: str) -> yaml.MappingNode:
    loras = dict(_pairs(root)).get("loras")
    lora = dict(_pairs(loras)).get(name) if loras else None
    if not isinstance(lora, yaml.MappingNode):
        raise Unsettled(f"`{name}` is not among `loras`")
    return lora


def _matrix(lora: yaml.MappingNode) -> tuple[yaml.Node, yaml.Node]:
    """Key and value of the LoRA's own matrix."""
    for key, value in lora.value:
        if key.value == "matrix" and isinstance(value, yaml.MappingNode):
            return key, value
    raise Unsettled("the matrix stands in `defaults`, where it is that of other LoRAs too")


def _pairs(node: yaml.Node) -> list[tuple[str, yaml.Node]]:
    """Keys with the nodes of their values."""
    if not isinstance(node, yaml.MappingNode):
        return []
    return [(str(key.value), value) for key, value in node.value]


def _last(node: yaml.Node) -> int:
    """Where the text of a node ends; the parser counts what follows a block to it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        final = node.value[-1]
        return _last(final[1] if isinstance(final, tuple) else final)
    return int(node.end_mark.index)
