"""Digests: canonical JSON and files to sha256."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec


def canonical_json(value: object) -> bytes:
    """UTF-8 JSON with sorted keys and no spaces; equal values give equal bytes.

    Frozen dataclasses and enums are accepted. Raises TypeError for what JSON cannot say.
    """
    return msgspec.json.encode(value, order="sorted")


def sha256_bytes(data: bytes) -> str:
    """Hex sha256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_json(value: object) -> str:
    """Hex sha256 of the canonical JSON of `value`."""
    return sha256_bytes(canonical_json(value))


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
