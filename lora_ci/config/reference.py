"""Every key of the config as Markdown tables, from the same schema that editors use."""

from __future__ import annotations

import json
from typing import Any

from lora_ci.config.load import SECTIONS
from lora_ci.config.schema import config_schema

HEADER = ("key", "type", "default", "meaning")
REQUIRED = ("dataset", "base_model")
LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤"}


def render_reference() -> str:
    """One table for a LoRA, then one for each of its sections."""
    definitions = config_schema()["$defs"]
    lora = definitions["Lora"]["properties"]
    lines = ["### A LoRA", "", *_row(HEADER), *_row(("---",) * 4)]
    for key, schema in lora.items():
        if key not in SECTIONS:
            default = "must be given" if key in REQUIRED else _default(schema)
            lines += _row((f"`{key}`", _type(schema, definitions), default, schema["description"]))
    for section in SECTIONS:
        settings = definitions[f"{section.capitalize()}Settings"]
        lines += ["", f"### `{section}`", "", settings["description"], ""]
        lines += [*_row(HEADER), *_row(("---",) * 4)]
        for key, schema in settings["properties"].items():
            cells = (f"`{key}`", _type(schema, definitions), _default(schema))
            lines += _row((*cells, schema["description"]))
    return "\n".join(lines) + "\n"


def _row(cells: tuple[str, ...]) -> list[str]:
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"]


def _default(schema: dict[str, Any]) -> str:
    if "default" in schema:
        return f"`{json.dumps(schema['default'], ensure_ascii=False)}`"
    return "`{}`" if schema.get("type") == "object" else ""


def _type(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """What may stand there, in words."""
    if "$ref" in schema:
        return _type(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return " or ".join(_type(choice, definitions) for choice in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    limits = [f"{sign} {schema[key]}" for key, sign in LIMITS.items() if key in schema]
    match schema["type"]:
        case "integer" | "number":
            return f"{schema['type']} {', '.join(limits)}".rstrip()
        case "string":
            return "text"
        case "boolean":
            return "`true`, `false`"
        case "array":
            return f"list: {_type(schema['items'], definitions)}"
        case "object":
            return f"mapping to {_type(schema['additionalProperties'], definitions)}"
        case kind:
            return f"`{kind}`"
