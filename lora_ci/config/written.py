"""Parts of a config as they are written, so that the loader reads them back."""

from __future__ import annotations

import json
import re

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
WORDS = {"null", "true", "false"}
LONGEST_NAME = 56


def quoted(text: str) -> str:
    """Text as YAML reads it back."""
    plain = PLAIN.fullmatch(text) and text.lower() not in WORDS
    return text if plain else json.dumps(text, ensure_ascii=False)


def unique(text: str, taken: set[str]) -> str:
    """A LoRA's name that the config accepts and that no other has; it is taken from now on."""
    plain = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("-._")[:LONGEST_NAME] or "lora"
    name, count = plain, 1
    while name in taken:
        count += 1
        name = f"{plain}-{count}"
    taken.add(name)
    return name


def source_text(path: str, repeats: int) -> str:
    """A source as short as it can be written."""
    if repeats == 1 and not path.endswith(".toml"):
        return quoted(path)
    return f"{{path: {quoted(path)}, repeats: {repeats}}}"
