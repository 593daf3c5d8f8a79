"""Every key of the config as Markdown tables, from the same schema that editors use."""

from __future__ import annotations

import json
from typing import Any

from lora_ci.config.language import SECTIONS
from lora_ci.config.schema import config_schema

HEADER = ("key", "type", "default", "meaning")
LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤"}
MUST = {"dataset", "base_model"}
# Settings that are no section of a LoRA, by how they are headed.
OTHERS = {
    "policy": "Policy",
    "a source in `dataset`": "Source",
    "`base_model` on the hub": "HubModel",
    "`prepare`": "Prepare",
    "a receiver in `notify`": "Notify",
    "a runner in `runners`": "Runner",
}


def render_reference() -> str:
    """A table for the top, one for a LoRA, then one for each section and for what is nested."""
    schema = config_schema()
    definitions = schema["$defs"]
    plain = {k: v for k, v in definitions["Lora"]["properties"].items() if k not in SECTIONS}
    lines = ["### At the top", ""]
    lines += _table(schema["properties"], set(schema["required"]), definitions)
    lines += ["", "### A LoRA, and `defaults`", "", *_table(plain, MUST, definitions)]
    tables = {f"`{key}`": kind.__name__ for key, kind in SECTIONS.items()}
    for title, name in (tables | OTHERS).items():
        settings = definitions[name]
        heading = title if title[0] == "`" or " " in title else f"`{title}`"
        lines += ["", f"### {heading[0].upper()}{heading[1:]}", "", settings["description"], ""]
        required = set(settings.get("required", ()))
        lines += _table(settings["properties"], required, definitions)
    return "\n".join(lines) + "\n"


def _table(properties: dict[str, Any], required: set[str], definitions: Any) -> list[str]:
    lines = [*_row(HEADER), *_row(("---",) * 4)]
    for key, schema in properties.items():
        default = "must be given" if key in required else _default(schema)
        meaning = schema.get("description", "")
        lines += _row((f"`{key}`", _type(schema, definitions), default, meaning))
    return lines


def _row(cells: tuple[str, ...]) -> list[str]:
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"]


def _default(schema: dict[str, Any]) -> str:
    if "default" in schema:
        return f"`{json.dumps(schema['default'], ensure_ascii=False)}`"
    return "`{}`" if schema.get("type") == "object" else ""


def _type(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    """What may stand there, in words."""
    if "$ref" in schema:
        target = definitions[schema["$ref"].rpartition("/")[2]]
        return "mapping" if target.get("type") == "object" else _type(target, definitions)
    if "anyOf" in schema:
        return " or ".join(_type(choice, definitions) for choice in schema["anyOf"])
    if "const" in schema:
        return f"`{schema['const']}`"
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
            return f"list: {_type(schema['items'], definitions)}" if "items" in schema else "list"
        case "object":
            return f"mapping to {_type(schema['additionalProperties'], definitions)}"
        case kind:
            return f"`{kind}`"
