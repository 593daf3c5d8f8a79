"""What was measured once: losses and costs, kept by all that they depend on.

A judgement that is made again needs no model for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from lora_ci.core.digest import canonical_json, sha256_json
from lora_ci.core.errors import machine_error
from lora_ci.store.cache import prune, read_cached, write_cached

FOLDER = "readings"
LIMIT_BYTES = 64 * 2**20
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Readings:
    """Values by key, both anything that JSON can say, below `cache`."""

    cache: Path

    def get(self, key: object, kind: type[T]) -> T | None:
        """The value; None if it was not kept, is damaged or is of another kind."""
        try:
            payload = read_cached(self._path(key))
            return None if payload is None else msgspec.json.decode(payload, type=kind)
        except (OSError, msgspec.DecodeError):
            return None

    def put(self, key: object, value: object) -> None:
        """Keeps a value of finite numbers; a disk that takes none costs measuring it again."""
        path = self._path(key)
        try:
            write_cached(path, canonical_json(value))
            prune([self.cache / FOLDER], LIMIT_BYTES, [path])
        except OSError as error:
            if machine_error(error) is None:
                raise

    def _path(self, key: object) -> Path:
        name = sha256_json(key)
        return self.cache / FOLDER / name[:2] / f"{name[2:]}.reading"
