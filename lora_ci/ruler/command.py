"""A program of the user's as embedder of pictures; docs/embedders.md has what is spoken."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lora_ci.core.errors import InfrastructureError
from lora_ci.diffusion.request import Picture
from lora_ci.ruler.embedder import Features, unit_vectors
from lora_ci.ruler.program import ANSWER_S, Conversation, conversation

BATCH = 32
MAX_FILE_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandEmbedder:
    """Asks the program for the vectors of PNG files; it runs as long as a call takes."""

    command: tuple[str, ...]
    spec: str
    answer_s: float = ANSWER_S

    def embed_pictures(self, pictures: Sequence[Picture]) -> Features:
        found: list[Features] = []
        with tempfile.TemporaryDirectory(prefix="lora-ci-embed-") as name:
            what, folder = f"embedder `{self.spec}`", Path(name)
            with conversation(
                self.command, what=what, folder=folder, answer_s=self.answer_s
            ) as program:
                for start in range(0, len(pictures), BATCH):
                    part = pictures[start : start + BATCH]
                    vectors = self._ask(program, part, folder)
                    width = found[0].shape[1] if found else None
                    found.append(unit_vectors(vectors, len(part), width, self.spec))
        return np.concatenate(found)

    def _ask(self, program: Conversation, pictures: Sequence[Picture], folder: Path) -> Any:
        """What it gives for some pictures, unchecked."""
        paths = [folder / f"{number}.png" for number in range(len(pictures))]
        for path, picture in zip(paths, pictures, strict=True):
            Image.fromarray(picture).save(path, compress_level=1)
        answer = program.ask({"pictures": [str(path) for path in paths]})
        if "vectors" not in answer:
            told = ", ".join(sorted(answer))[:80] or "no key"
            message = f"{program.what} answered with {told}; expected `vectors`"
            hint = "next: see docs/embedders.md"
            raise InfrastructureError(message, rule="program.answer", hint=hint)
        vectors = answer["vectors"]
        return _read_array(folder / vectors, program.what) if isinstance(vectors, str) else vectors


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
