"""Bytes made by a step, kept by digest."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A named file in the store; `sha256` is its content id."""

    name: str
    sha256: str
    size_bytes: int
    media_type: str
