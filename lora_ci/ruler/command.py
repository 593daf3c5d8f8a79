"""A program of the user's as embedder of pictures; docs/embedders.md has what is spoken."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lora_ci.core.errors import InfrastructureError
from lora_ci.diffusion.request import Picture
from lora_ci.ruler.embedder import Features, unit_vectors
from lora_ci.ruler.program import ANSWER_S, Shown, show

MAX_FILE_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandEmbedder:
    """Asks the program for the vectors of PNG files; it runs as long as a call takes."""

    command: tuple[str, ...]
    spec: str
    answer_s: float = ANSWER_S

    def embed_pictures(self, pictures: Sequence[Picture]) -> Features:
        found: list[Features] = []
        what = f"embedder `{self.spec}`"
        with closing(show(self.command, pictures, what=what, answer_s=self.answer_s)) as parts:
            for shown in parts:
                width = found[0].shape[1] if found else None
                vectors = _vectors(shown, what)
                found.append(unit_vectors(vectors, len(shown.pictures), width, self.spec))
        return np.concatenate(found)


def _vectors(shown: Shown, what: str) -> Any:
    """What it gives for some pictures, unchecked."""
    if "vectors" not in shown.answer:
        told = ", ".join(sorted(shown.answer))[:80] or "no key"
        message = f"{what} answered with {told}; expected `vectors`"
        hint = "next: see docs/embedders.md"
        raise InfrastructureError(message, rule="program.answer", hint=hint)
    vectors = shown.answer["vectors"]
    return _read_array(shown.folder / vectors, what) if isinstance(vectors, str) else vectors


def _read_array(path: Path, what: str) -> Any:
    """The array in an .npy file that the program wrote; no pickle is read."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ValueError(f"more than {MAX_FILE_BYTES >> 20} MiB")
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        message = f"{what}: its file {path.name} cannot be read: {str(error)[:200]}"
        hint = "such as numpy.save makes"
        raise InfrastructureError(message, rule="program.answer", hint=hint) from error
