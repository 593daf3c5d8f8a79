"""Copies that an embedder may miss: pictures that are a training picture, part by part."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lora_ci.diffusion.request import Picture

# Pictures are compared at this size, where noise and edges that moved a little count for nothing.
SIDE = 16
# Root mean square of 255 within which two pictures are one, saved twice.
SAME = 6.0
# A copy is nearer than this share of what lies between the real pictures themselves.
NEAR = 0.5

Small = NDArray[np.float64]


def shrink(pictures: Sequence[Picture]) -> Small:
    """Pictures [height, width, 3] as means of parts, [n, 16 · 16 · 3]."""
    rows = [
        np.asarray(Image.fromarray(p).resize((SIDE, SIDE), Image.Resampling.BOX), np.float64)
        for p in pictures
    ]
    return np.reshape(rows, (len(rows), SIDE * SIDE * 3))


def pixel_copies(
    generated: Sequence[Picture], training: Sequence[Picture], others: Sequence[Picture]
) -> NDArray[np.bool_]:
    """Which generated pictures [n] are copies of a training picture.

    A copy is nearer to its nearest training picture than half of the way from that one to the
    nearest other real picture, be it a training picture or one of the `others`. The measure is
    relative, as pictures of one kind are all near to each other. Source: Carlini et al., Extracting
    Training Data from Diffusion Models, USENIX Security 2023, section 5.
    """
    made, known = shrink(generated), shrink(training)
    apart = _distances(known, np.concatenate([known, shrink(others)]))
    apart[apart < SAME] = np.inf
    distances = _distances(made, known)
    nearest = distances.argmin(axis=1)
    copied: NDArray[np.bool_] = distances.min(axis=1) < NEAR * apart.min(axis=1)[nearest]
    return copied


def _distances(one: Small, other: Small) -> Small:
    """Root mean square between each two of [n, d] and [m, d], [n, m]."""
    squares = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None] - 2 * one @ other.T
    distances: Small = np.sqrt(np.maximum(squares, 0) / one.shape[1])
    return distances
