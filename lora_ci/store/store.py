"""Where artifacts are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class ArtifactStore(Protocol):
    """Bytes by sha256; writes are atomic and idempotent."""

    def put(self, path: Path) -> str:
        """Keeps a copy of a file; returns its sha256."""
        ...

    def get(self, sha256: str) -> Path:
        """A verified local file, not to be written to.

        Raises:
            IntegrityError: the bytes kept are not those of the digest, or are not there.
        """
        ...

    def has(self, sha256: str) -> bool:
        """True if something is kept under the digest."""
        ...
