"""The JSON Schema of the config file, generated from the dataclasses that the code uses."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from lora_ci.config.language import GATE, HUB_NAME, NAME, REVISION, SECTIONS, WrittenConfig
from lora_ci.config.matrix import matrix_types
from lora_ci.config.model import VERSION
from lora_ci.core.settings import QaSettings

# What the loader checks and types cannot say.
PATTERNS = {
    ("HubModel", "hub"): HUB_NAME.pattern,
    ("HubModel", "revision"): REVISION.pattern,
}


def config_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12, as JSON values."""
    _, definitions = msgspec.json.schema_components([WrittenConfig], ref_template="#/$defs/{name}")
    for definition in definitions.values():
        if definition.get("type") == "object":
            definition["additionalProperties"] = False
    top, lora = definitions.pop("WrittenConfig"), definitions.pop("WrittenLora")
    for (owner, key), pattern in PATTERNS.items():
        definitions[owner]["properties"][key]["pattern"] = f"^{pattern}$"
    gates = definitions[QaSettings.__name__]["properties"]["gates"]
    gates["additionalProperties"]["pattern"] = f"^{GATE.pattern}$"
    _finish_lora(lora)
    properties = top["properties"]
    properties["version"] = {"const": VERSION, **properties["version"], "examples": [VERSION]}
    properties["loras"] |= {"minProperties": 1, "propertyNames": {"pattern": f"^{NAME.pattern}$"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **top,
        "title": "lora-ci configuration",
        "properties": json.loads(json.dumps(properties).replace("WrittenLora", "Lora")),
        "$defs": {"Lora": lora, **definitions},
    }


def _finish_lora(lora: dict[str, Any]) -> None:
    """A LoRA may leave out what `defaults` has; `trigger` defaults to its name."""
    del lora["required"]
    lora["title"] = "Lora"
    properties = lora["properties"]
    del properties["trigger"]["default"]
    for choice in [*properties["dataset"]["anyOf"], *properties["base_model"]["anyOf"]]:
        if choice.get("type") == "string":
            choice["minLength"] = 1
    matrix = properties["matrix"]
    matrix["propertyNames"] = {"enum": list(matrix_types())}
    for key, kind in SECTIONS.items():
        about = (kind.__doc__ or "").splitlines()[0]
        properties[key] = {"description": about, **properties[key]}


def render_schema() -> str:
    """The schema as the file `.lora-ci.schema.json` holds it."""
    return json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"
