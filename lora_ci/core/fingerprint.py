"""Fingerprints: the digest of all that a stage's result depends on, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lora_ci.core.digest import canonical_json, sha256_bytes, sha256_json
from lora_ci.core.step import Stage

SCHEME = "lora-ci/1"
# What is longer enters as its digest: parts are read by people.
LONGEST_PART = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """`value` decides; `parts` (name → text, or digest of a long value) tell which part moved."""

    stage: Stage
    value: str
    parts: Mapping[str, str]

    def changed_parts(self, older: Mapping[str, str]) -> tuple[str, ...]:
        """Names of the parts that differ from an older record's parts, sorted."""
        names = set(self.parts) | set(older)
        return tuple(sorted(n for n in names if self.parts.get(n) != older.get(n)))


def make_fingerprint(stage: Stage, parts: Mapping[str, object]) -> Fingerprint:
    """Fingerprint over named parts: text as it is, other values as canonical JSON."""
    texts = {name: _text(value) for name, value in sorted(parts.items())}
    value = sha256_json({"scheme": SCHEME, "stage": stage, "parts": texts})
    return Fingerprint(stage=stage, value=value, parts=texts)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    data = canonical_json(value)
    return data.decode() if len(data) <= LONGEST_PART else sha256_bytes(data)
