"""What turns pictures into features, and what its answers must hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lora_ci.core.errors import InfrastructureError
from lora_ci.diffusion.request import Picture

Features = NDArray[np.float32]


class Embedder(Protocol):
    """Pictures as vectors: the cosine of two says how alike the pictures are."""

    def embed_pictures(self, pictures: Sequence[Picture]) -> Features:
        """Vectors [n, d] of one or more pictures [height, width, 3] of any size.

        Those that `opening.open_embedder` gives have length one.
        """
        ...


@runtime_checkable
class TextEmbedder(Protocol):
    """An embedder that can also place texts among pictures."""

    def embed_texts(self, texts: Sequence[str]) -> Features:
        """Vectors [n, d] in the space of the pictures, of one or more texts."""
        ...


def unit_vectors(found: object, count: int, width: int | None, spec: str) -> Features:
    """The answer of an embedder as unit vectors [count, d], once it is seen to be one.

    `width` is d where it is known from an earlier answer. Raises InfrastructureError that names the
    `spec`: what measures is broken, which says nothing of the adapter.
    """
    wanted = f"{count} vectors of {width or 'the same number of'} values"
    try:
        vectors = np.asarray(found, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise _refused(spec, "what it gave are no numbers in rows of one length", wanted) from error
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise _refused(spec, f"it gave an array of shape {list(vectors.shape)}", wanted)
    if len(vectors) != count:
        raise _refused(spec, f"it gave {len(vectors)} vectors", wanted)
    if width is not None and vectors.shape[1] != width:
        raise _refused(spec, f"it gave vectors of {vectors.shape[1]} values", wanted)
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if wrong.size:
        told = f"vector {wrong[0] + 1} of {count} has NaN or infinity in it"
        raise _refused(spec, told, "finite values")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if (empty := np.flatnonzero(lengths[:, 0] == 0)).size:
        told = f"vector {empty[0] + 1} of {count} is all zero"
        raise _refused(spec, told, "vectors with a direction")
    unit: Features = (vectors / lengths).astype(np.float32)
    return unit


def _refused(spec: str, told: str, expected: str) -> InfrastructureError:
    message = f"embedder `{spec}`: {told}; expected {expected}"
    return InfrastructureError(
        message, rule="embedder.answer", hint="next: see docs/embedders.md for what it must give"
    )
