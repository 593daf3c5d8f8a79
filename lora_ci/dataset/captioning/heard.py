"""What a model said of pictures, kept in the cache: a kill or a dry run costs no second look."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from lora_ci.core.digest import sha256_json
from lora_ci.store.cache import mark_used, prune

FOLDER = "captions"
# Of all models together; the least recently used go.
ALL_BYTES = 256 * 2**20


class _Line(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """The sha256 of a picture's bytes, and the words."""

    sha256: str
    said: str


@dataclass(slots=True, kw_only=True)
class Heard:
    """Lines of a file of one model; without a `cache` none is kept.

    `model` is all that its words depend on. A line is appended in one write, so that others who
    append keep theirs; one that is torn is none.
    """

    cache: Path | None
    model: tuple[str, str, str]
    _known: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        path = self._path()
        if path is None:
            return
        if not path.is_file():
            prune([path.parents[1]], ALL_BYTES)
            return
        mark_used(path)
        for line in path.read_bytes().splitlines():
            try:
                found = msgspec.json.decode(line, type=_Line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            self._known[found.sha256] = found.said

    def get(self, sha256: str) -> str | None:
        """What it said of a picture; None if it is not kept."""
        return self._known.get(sha256)

    def put(self, sha256: str, said: str) -> None:
        """Keeps what it said. Raises OSError if the disk is full or refuses."""
        self._known[sha256] = said
        path = self._path()
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            # Begins a line of its own, whatever a process that was killed left of the one before.
            file.write(b"\n" + msgspec.json.encode(_Line(sha256, said)) + b"\n")

    def _path(self) -> Path | None:
        if self.cache is None:
            return None
        key = sha256_json(self.model)
        return self.cache / FOLDER / key[:2] / f"{key[2:]}.jsonl"
