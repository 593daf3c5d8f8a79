"""The JSON Schema of the config file, generated from the dataclasses that the code uses."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from lora_ci.config.load import NAME, SECTIONS
from lora_ci.config.model import VERSION, Lora


def config_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12, as JSON values."""
    _, definitions = msgspec.json.schema_components([Lora], ref_template="#/$defs/{name}")
    lora = definitions.pop("Lora")
    for definition in definitions.values():
        if definition.get("type") == "object":
            definition["additionalProperties"] = False
    del lora["properties"]["name"]
    for section in SECTIONS:
        lora["properties"][section] = {
            "anyOf": [
                {"$ref": f"#/$defs/{section.capitalize()}Settings"},
                {"type": "string", "description": "a TOML or YAML file in the repository"},
            ]
        }
    lora["additionalProperties"] = False
    lora.pop("required")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "lora-ci configuration",
        "type": "object",
        "required": ["version", "loras"],
        "additionalProperties": False,
        "properties": {
            "version": {"const": VERSION, "description": "version of the config language"},
            "defaults": {"$ref": "#/$defs/Lora", "description": "merged under every LoRA"},
            "loras": {
                "type": "object",
                "description": "the adapters this repository makes, by name",
                "minProperties": 1,
                "propertyNames": {"pattern": f"^{NAME.pattern}$"},
                "additionalProperties": {"$ref": "#/$defs/Lora"},
            },
        },
        "$defs": {"Lora": lora, **definitions},
    }


def render_schema() -> str:
    """The schema as the file `.lora-ci.schema.json` holds it."""
    return json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"
