"""Copies a file and sees to it that what arrives is what was meant."""

from __future__ import annotations

import hashlib
from pathlib import Path

PIECE_BYTES = 1 << 20
MAX_TEXT_BYTES = 1 << 20


def copy_verified(source: Path, target: Path, md5: str) -> bool:
    """Copies `source`; False if its bytes are not those of `md5`."""
    digest = hashlib.md5(usedforsecurity=False)
    with source.open("rb") as reading, target.open("wb") as writing:
        while piece := reading.read(PIECE_BYTES):
            digest.update(piece)
            writing.write(piece)
    return digest.hexdigest() == md5 or _is_text_of_dvc_2(source, md5)


def _is_text_of_dvc_2(source: Path, md5: str) -> bool:
    """True if it is text with Windows line ends: DVC 2 hashed it as if it had none."""
    if source.stat().st_size > MAX_TEXT_BYTES:
        return False
    data = source.read_bytes().replace(b"\r\n", b"\n")
    return hashlib.md5(data, usedforsecurity=False).hexdigest() == md5
