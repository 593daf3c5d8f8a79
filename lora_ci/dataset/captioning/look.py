"""What a folder in transformers format holds, seen without loading it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lora_ci.core.errors import InputError


def is_spoken_with(folder: Path, spec: str) -> bool:
    """True for a model with a template for chats (LLaVA), False for GIT and BLIP-2.

    Raises InputError where there is no model.
    """
    if not isinstance(_json(folder / "config.json").get("model_type"), str):
        message = f"captioner `{spec}`: no config.json that names its `model_type` in its folder"
        hint = "a folder in transformers format is needed; others can be used as `exec:`"
        raise InputError(message, rule="captioner.file", hint=hint)
    if (folder / "chat_template.jinja").is_file():
        return True
    told = ("chat_template.json", "processor_config.json", "tokenizer_config.json")
    return any("chat_template" in _json(folder / name) for name in told)


def _json(path: Path) -> dict[str, Any]:
    """{} where there is no such file, or no JSON object in it."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
