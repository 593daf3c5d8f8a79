"""What a folder in transformers format holds, seen without loading it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lora_ci.core.errors import InputError

TOKENS = "tokenizer.json"
# `model_type` in config.json → whether there is a tower for texts.
MODEL_TYPES = {"clip": True, "siglip": True, "siglip2": True, "dinov2": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFolder:
    """A model of a type that is known; `knows_texts` if it can place texts among pictures."""

    folder: Path
    model_type: str
    knows_texts: bool


def look_at(folder: Path, spec: str) -> ModelFolder:
    """The model in a folder. Raises InputError where there is none of a known type."""
    known = ", ".join(f"`{name}`" for name in MODEL_TYPES)
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        message = f"embedder `{spec}`: no readable config.json in its folder"
        hint = f"a folder in transformers format is needed, of one of the types {known}"
        raise InputError(message, rule="embedder.file", hint=hint) from error
    model_type = config.get("model_type") if isinstance(config, dict) else None
    if model_type not in MODEL_TYPES:
        message = f"embedder `{spec}`: its `model_type` is `{str(model_type)[:60]}`"
        hint = f"known are {known}; others can be used as `onnx:` or `exec:`, see docs/embedders.md"
        raise InputError(message, rule="embedder.file", hint=hint)
    # SigLIP's older form of its vocabulary alone (spiece.model) is not read.
    texts = MODEL_TYPES[model_type] and (model_type == "clip" or (folder / TOKENS).is_file())
    return ModelFolder(folder=folder, model_type=model_type, knows_texts=texts)
