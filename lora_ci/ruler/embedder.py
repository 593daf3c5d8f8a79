"""What turns pictures into features, chosen by a spec such as `path:models/clip`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lora_ci.core.errors import InputError
from lora_ci.diffusion.generate import Picture

Features = NDArray[np.float32]


class Embedder(Protocol):
    """Pictures as unit vectors: the cosine of two says how alike the pictures are."""

    def embed_pictures(self, pictures: Sequence[Picture]) -> Features:
        """Unit vectors [n, d] of pictures [height, width, 3] of any size."""
        ...


@runtime_checkable
class TextEmbedder(Protocol):
    """An embedder that can also place texts among pictures."""

    def embed_texts(self, texts: Sequence[str]) -> Features:
        """Unit vectors [n, d] in the space of the pictures."""
        ...


def open_embedder(spec: str, folder: Path | None) -> Embedder:
    """The embedder of a spec; `folder` is where the path of a `path:` spec lies here.

    Raises InputError for a spec of another kind, or a folder that holds no CLIP model.
    """
    if spec == "classic:":
        from lora_ci.ruler.classic import ClassicEmbedder

        return ClassicEmbedder()
    if spec.startswith("path:") and folder is not None:
        from lora_ci.ruler.clip import load_clip

        return load_clip(folder)
    raise InputError(
        f"qa.embedder `{spec}` cannot be used",
        hint="known: `classic:`, and `path:<folder>` of a CLIP model in the repository",
    )
