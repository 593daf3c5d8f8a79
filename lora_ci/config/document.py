"""YAML 1.2 text → a tree of nodes that know their line. Hostile documents are refused."""

from __future__ import annotations

from dataclasses import dataclass

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.nodes import Node as YamlNode

from lora_ci.core.errors import UsageError
from lora_ci.core.finding import Finding, Severity

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
TAGS = {
    f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "str", "int", "float", "bool", "null")
}

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Where:
    """Where a value stands; line and column count from 1."""

    file: str
    line: int | None = None
    column: int | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """A value of the document and where it stands."""

    value: Scalar | list[Node] | dict[str, Node]
    where: Where

    def plain(self) -> object:
        """The value without its lines."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


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


def parse_yaml(text: bytes, file: str) -> Node:
    """The document as nodes. Raises UsageError with a finding at the line that is wrong."""
    start = Where(file, 1, 1)
    if len(text) > MAX_BYTES:
        raise refused("too-large", f"{len(text)} bytes; at most {MAX_BYTES} are read", start)
    try:
        root = YAML(typ="safe", pure=True).compose(text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise refused(
            "encoding", f"not UTF-8: {error.reason} at byte {error.start}", start
        ) from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Where(file, mark.line + 1, mark.column + 1) if mark else start
        raise refused("syntax", f"not YAML: {error.problem or error.context}", where) from error
    except (YAMLError, ValueError) as error:
        raise refused("syntax", f"not YAML: {str(error).splitlines()[0]}", start) from error
    except RecursionError as error:
        raise refused("too-deep", f"nested deeper than {MAX_DEPTH} levels", start) from error
    if root is None:
        return Node({}, start)
    findings: list[Finding] = []
    node = convert(root, file, findings, 0)
    if findings:
        raise UsageError(findings[0].message, findings=tuple(findings))
    return node


def refused(rule: str, message: str, where: Where) -> UsageError:
    """One error that ends the reading of the document."""
    finding = problem(rule, message, where, "next: lora-ci config check")
    return UsageError(message, findings=(finding,))


def convert(node: YamlNode, file: str, findings: list[Finding], depth: int) -> Node:
    """A ruamel node as ours; what we refuse is added to `findings`."""
    where = Where(file, node.start_mark.line + 1, node.start_mark.column + 1)
    if depth > MAX_DEPTH:
        findings.append(problem("too-deep", f"nested deeper than {MAX_DEPTH} levels", where))
        return Node(None, where)
    if node.anchor:
        message = f"anchor &{node.anchor}: anchors and aliases are not allowed"
        findings.append(problem("alias", message, where, "write the value out, or use `defaults`"))
        return Node(None, where)
    if node.tag not in TAGS:
        findings.append(problem("tag", f"tag {node.tag}: tags are not allowed", where))
        return Node(None, where)
    match node:
        case MappingNode():
            return Node(convert_mapping(node, file, findings, depth), where)
        case SequenceNode():
            return Node([convert(item, file, findings, depth + 1) for item in node.value], where)
        case ScalarNode():
            return Node(scalar(node, where, findings), where)
        case _:
            raise AssertionError(node)


def convert_mapping(
    node: MappingNode, file: str, findings: list[Finding], depth: int
) -> dict[str, Node]:
    """A mapping with text keys, each only once."""
    items: dict[str, Node] = {}
    for key_node, value_node in node.value:
        where = Where(file, key_node.start_mark.line + 1, key_node.start_mark.column + 1)
        if not isinstance(key_node, ScalarNode) or key_node.anchor:
            findings.append(problem("key", "a key must be plain text", where))
            continue
        key = str(key_node.value)
        if key in items:
            first = items[key].where.line
            message = f"`{key}` stands twice (first in line {first}); YAML would drop one silently"
            findings.append(problem("duplicate-key", message, where, "remove one of them"))
            continue
        items[key] = convert(value_node, file, findings, depth + 1)
    return items


def scalar(node: ScalarNode, where: Where, findings: list[Finding]) -> Scalar:
    """A scalar by the YAML 1.2 core schema, `1e-4` included (a float, not text)."""
    text = str(node.value)
    kind = str(node.tag).rsplit(":", 1)[1]
    try:
        match kind:
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int":
                return int(
                    text.replace("_", ""),
                    0 if text.lstrip("+-")[:2].lower() in ("0x", "0o") else 10,
                )
            case "float":
                return float(text.replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
            case _:
                return text
    except ValueError:
        findings.append(problem("number", f"`{text[:40]}` is not a number", where))
        return None
