"""A local store that brings what it does not have from where it is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lora_ci.core.errors import IntegrityError
from lora_ci.store.store import ArtifactStore


class Remote(Protocol):
    """Where artifacts lie that other machines made."""

    def has(self, sha256: str) -> bool:
        """True if the artifact can be fetched."""
        ...

    def fetch(self, sha256: str, store: ArtifactStore) -> None:
        """Puts the artifact into a store, and what comes with it.

        Raises:
            IntegrityError: what is there are not the bytes of the digest.
            InfrastructureError: it cannot be fetched now.
        """
        ...


@dataclass(frozen=True, slots=True)
class LayeredStore:
    """What is put stays local; what others made is fetched once. Implements `ArtifactStore`."""

    local: ArtifactStore
    remotes: tuple[Remote, ...]

    def put(self, path: Path) -> str:
        return self.local.put(path)

    def get(self, sha256: str) -> Path:
        try:
            return self.local.get(sha256)
        except IntegrityError:
            # Not there, or damaged: what is fetched replaces it.
            remote = next((r for r in self.remotes if r.has(sha256)), None)
            if remote is None:
                raise
        remote.fetch(sha256, self.local)
        return self.local.get(sha256)

    def has(self, sha256: str) -> bool:
        return self.local.has(sha256) or any(remote.has(sha256) for remote in self.remotes)
