"""Artifacts in a local folder: `ab/cdef…`."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lora_ci.core.digest import sha256_file
from lora_ci.core.errors import IntegrityError
from lora_ci.store.cache import mark_used

SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class LocalStore:
    """The artifacts below `root`."""

    root: Path

    def put(self, path: Path) -> str:
        self.root.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.root, prefix="put-")
        copy = Path(name)
        try:
            with os.fdopen(handle, "wb") as target, path.open("rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)
                target.flush()
                os.fsync(target.fileno())
            sha256 = sha256_file(copy)
            place = self._place(sha256)
            place.parent.mkdir(exist_ok=True)
            copy.replace(place)
        finally:
            copy.unlink(missing_ok=True)
        return sha256

    def get(self, sha256: str) -> Path:
        place = self._place(sha256)
        # A clean-up leaves what was used lately: who got it has not yet said in the ledger.
        mark_used(place)
        if not place.is_file():
            hint = "it was removed; run again to make it anew"
            raise IntegrityError(f"artifact {sha256[:12]} is not in {self.root}", hint=hint)
        if sha256_file(place) != sha256:
            hint = f"next: rm {place}, and run again to make it anew"
            raise IntegrityError(f"artifact {sha256[:12]} was changed on disk", hint=hint)
        return place

    def has(self, sha256: str) -> bool:
        # As `_place` builds it, which takes most of the time of a plan that reuses thousands.
        if not SHA256.fullmatch(sha256):
            raise IntegrityError(f"{sha256[:80]!r} is no sha256 digest")
        return os.path.isfile(f"{self.root}/{sha256[:2]}/{sha256[2:]}")

    def _place(self, sha256: str) -> Path:
        if not SHA256.fullmatch(sha256):
            raise IntegrityError(f"{sha256[:80]!r} is no sha256 digest")
        return self.root / sha256[:2] / sha256[2:]
