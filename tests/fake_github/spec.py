"""GitHub's published description of its API, cut to what the fake serves; loaded once a process."""

import functools
import gzip
import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "openapi.json.gz"


@functools.cache
def load_spec() -> dict[str, Any]:
    """The description as it is in the file. Nobody may change it."""
    return json.loads(gzip.decompress(FILE.read_bytes()))


def complete(schema: str, given: dict[str, Any]) -> dict[str, Any]:
    """`given`, and for what a schema requires beyond it: null, or the plainest value of its type.

    The fake models what lora-ci uses; the fields that only have to be there come from here.
    """
    return {**json.loads(_template(schema)), **given}


@functools.cache
def _template(schema: str) -> str:
    found = load_spec()["components"]["schemas"][schema]
    return json.dumps(_plainest({**found, "nullable": False}, schema))


def _plainest(schema: dict[str, Any], name: str) -> Any:
    if "$ref" in schema:
        kind, ref = schema["$ref"].split("/")[-2:]
        return _plainest(load_spec()["components"][kind][ref], name)
    if schema.get("nullable"):
        return None
    if "enum" in schema:
        return schema["enum"][0]
    if "allOf" in schema:
        return {k: v for part in schema["allOf"] for k, v in _plainest(part, name).items()}
    choices = schema.get("oneOf") or schema.get("anyOf")
    if choices and "properties" not in schema:
        return _plainest(choices[0], name)
    kind = schema.get("type", "object")
    if kind == "string":
        return _plainest_text(schema.get("format"), name)
    if kind == "object":
        properties = schema.get("properties", {})
        return {key: _plainest(properties[key], key) for key in schema.get("required", ())}
    return {"integer": 0, "number": 0, "boolean": False, "array": []}[kind]


def _plainest_text(kind: str | None, name: str) -> str:
    match kind:
        case "uri":
            return f"https://github.invalid/{name}"
        case "date-time":
            return "2024-01-01T00:00:00Z"
        case _:
            return ""
