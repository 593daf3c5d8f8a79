"""What was said of bytes before, by who said it: lines of a file that processes share."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from lora_ci.core.digest import sha256_bytes
from lora_ci.store.cache import mark_used, prune

FOLDER = "verdicts"
# Of one who is asked, half a million answers; beyond it all are asked for anew.
LIMIT_BYTES = 64 * 2**20
# Of all: every day has other signatures, and those of the days before go first.
ALL_BYTES = 256 * 2**20


class _Line(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """One answer: the digest of the bytes, and label → score. Nothing found is empty."""

    digest: str
    scores: dict[str, float]


@dataclass(slots=True, kw_only=True)
class KnownAnswers:
    """Answers of one who is asked about bytes; without an `identity` or a `cache` none is kept.

    A line is appended in one write, so that others who append keep theirs; a line that is torn is
    none, and its bytes are asked about again.
    """

    cache: Path | None
    identity: str | None
    _known: dict[str, dict[str, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        path = self._path()
        if path is None:
            return
        if not path.is_file():
            prune([path.parents[1]], ALL_BYTES)
            return
        if path.stat().st_size > LIMIT_BYTES:
            path.unlink()
            return
        mark_used(path)
        for line in path.read_bytes().splitlines():
            try:
                said = msgspec.json.decode(line, type=_Line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            self._known[said.digest] = said.scores

    def get(self, digest: str) -> dict[str, float] | None:
        """The answer about the bytes of a sha256; None if it is not kept."""
        return self._known.get(digest)

    def put(self, digest: str, scores: dict[str, float]) -> None:
        """Keeps an answer. Raises OSError if the disk is full or refuses."""
        self._known[digest] = scores
        path = self._path()
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            # Begins a line of its own, whatever a process that was killed left of the one before.
            file.write(b"\n" + msgspec.json.encode(_Line(digest, scores)) + b"\n")

    def _path(self) -> Path | None:
        if self.cache is None or self.identity is None:
            return None
        key = sha256_bytes(self.identity.encode())
        return self.cache / FOLDER / key[:2] / f"{key[2:]}.jsonl"
