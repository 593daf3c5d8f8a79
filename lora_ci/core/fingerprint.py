"""Fingerprints: the digest of all that a stage's result depends on, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lora_ci.core.digest import sha256_json
from lora_ci.core.step import Stage

SCHEME = "lora-ci/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """`value` decides; `parts` (name → digest or short text) explain which part moved."""

    stage: Stage
    value: str
    parts: Mapping[str, str]

    def changed_parts(self, older: Mapping[str, str]) -> tuple[str, ...]:
        """Names of the parts that differ from an older record's parts, sorted."""
        names = set(self.parts) | set(older)
        return tuple(sorted(n for n in names if self.parts.get(n) != older.get(n)))


def make_fingerprint(stage: Stage, parts: Mapping[str, object]) -> Fingerprint:
    """Fingerprint over named parts; text is kept as it is, other values enter as their digest."""
    digests = {
        name: value if isinstance(value, str) else sha256_json(value)
        for name, value in sorted(parts.items())
    }
    value = sha256_json({"scheme": SCHEME, "stage": stage, "parts": digests})
    return Fingerprint(stage=stage, value=value, parts=digests)
