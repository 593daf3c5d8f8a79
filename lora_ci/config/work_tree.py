"""The config as it lies in a folder, so that it can be checked before it is committed."""

from __future__ import annotations

from pathlib import Path

from lora_ci.config.document import MAX_BYTES
from lora_ci.config.load import load_config
from lora_ci.config.model import Config
from lora_ci.core.errors import UsageError


def read_config(path: Path) -> Config:
    """The config file as it lies there. Raises UsageError."""
    text = _read(path)
    if text is None:
        raise UsageError(f"there is no config {path}", hint="next: lora-ci init")
    return load_config(text, path.name, lambda name: _read(path.parent / name))


def _read(path: Path) -> bytes | None:
    """The file, or just more of it than is allowed."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)
