"""Where trainings that differ in their budgets alone ended: a longer one goes on from there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lora_ci.store.cache import mark_used, prune
from lora_ci.training.checkpoint import Checkpoint, newest_state, write_state

FOLDER = "states"
# What is kept of all trainings; beyond it the least recently used goes.
LIMIT_BYTES = 10 * 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """The ends of trainings with the same `prefix`, which names all they have in common."""

    cache: Path
    prefix: str
    limit_bytes: int = LIMIT_BYTES

    def furthest(self, total: int) -> Checkpoint | None:
        """The end nearest to `total` steps, none beyond it; one that is damaged is no end."""
        found = newest_state(self._folder, self.prefix, at_most=total).checkpoint
        if found:
            mark_used(self._folder / f"step-{found.step:08d}.safetensors")
        return found

    def keep(self, checkpoint: Checkpoint) -> None:
        """Writes an end, and drops the least recently used beyond the limit. Raises OSError."""
        path = write_state(self._folder, self.prefix, checkpoint)
        prune([self.cache / FOLDER], self.limit_bytes, [path])

    @property
    def _folder(self) -> Path:
        return self.cache / FOLDER / self.prefix
