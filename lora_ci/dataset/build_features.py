"""What pictures are compared by: small copies, or the vectors of an embedder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lora_ci.core.digest import sha256_bytes
from lora_ci.core.errors import InputError
from lora_ci.dataset.decode import UnreadableError
from lora_ci.dataset.measured import Measured
from lora_ci.dataset.normalise import open_upright
from lora_ci.dataset.select import Features

if TYPE_CHECKING:
    from lora_ci.ruler.feature_cache import CachedEmbedder

# Pictures that an embedder sees: decoded at once, and the longer side in pixels.
SEEN_AT_ONCE = 32
SEEN_SIDE = 512
# What is being done, how much of it, of how much.
Progress = Callable[[str, int, int], None]


def features_of(
    measured: Sequence[Measured], embedder: CachedEmbedder | None, progress: Progress
) -> tuple[Features, str]:
    """Unit vectors [n, d], and the name of what made them."""
    if embedder:
        return _embedded(embedder, measured, progress), embedder.identity
    return _thumbnail_features(measured), "thumbnails:1"


def _thumbnail_features(measured: Sequence[Measured]) -> Features:
    """Unit vectors [n, 768] of 16 × 16 thumbnails, less what all have in common."""
    small = np.stack([one.thumbnails[0] for one in measured if one.thumbnails is not None])
    vectors = small.reshape(len(small), -1).astype(np.float32)
    vectors -= vectors.mean(axis=0)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Features = vectors / np.maximum(lengths, 1e-6)
    return unit


def _embedded(
    embedder: CachedEmbedder, measured: Sequence[Measured], progress: Progress
) -> Features:
    """Unit vectors [n, d] by an embedder."""
    parts = []
    for start in range(0, len(measured), SEEN_AT_ONCE):
        seen = [_seen(one) for one in measured[start : start + SEEN_AT_ONCE]]
        parts.append(embedder.embed_pictures(seen))
        progress("embed", min(start + SEEN_AT_ONCE, len(measured)), len(measured))
    return np.concatenate(parts)


def _seen(measured: Measured) -> NDArray[np.uint8]:
    data = read_same(measured.path, measured.sha256)
    try:
        picture = open_upright(data, about=SEEN_SIDE)
    except UnreadableError as error:
        message = f"{measured.path}: {error}"
        raise InputError(message, file=str(measured.path), hint="next: remove it") from error
    picture.thumbnail((SEEN_SIDE, SEEN_SIDE))
    return np.asarray(picture)


def read_same(path: Path, sha256: str) -> bytes:
    """The bytes that were measured. Raises InputError for others."""
    data = path.read_bytes()
    if sha256_bytes(data) != sha256:
        message = f"{path}: it changed while the dataset was built"
        raise InputError(message, file=str(path), hint="next: the same command again")
    return data
