"""Pictures that are the same, or nearly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lora_ci.dataset.measured import Measured

# Mean difference of 16 × 16 thumbnails, of 255 levels, up to which a candidate is a near-duplicate.
# Flat art on white hashes alike; its colors tell it apart.
MAX_THUMBNAIL_DIFFERENCE = 12.0
BLOCK = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two indexes, the Hamming distance of the hashes, and whether the pixels are equal."""

    first: int
    second: int
    distance: int
    exact: bool


def find_pairs(
    left: Sequence[Measured], right: Sequence[Measured], max_distance: int
) -> list[Pair]:
    """Look-alikes of `left` in `right`; within one sequence (`left is right`) each pair once."""
    a, b = _hashes(left), _hashes(right)
    pairs = []
    for start in range(0, len(a), BLOCK):
        block = a[start : start + BLOCK]
        # The plain hash of each against every variant of the other, both ways: [block, n].
        nearest = np.minimum(_nearest(block, b), _nearest(b, block).T)
        for i, j in zip(*np.nonzero(nearest <= max_distance), strict=True):
            first, second = start + int(i), int(j)
            if left is right and first >= second:
                continue
            exact = left[first].pixels == right[second].pixels
            if exact or _look_alike(left[first], right[second]):
                pairs.append(
                    Pair(first=first, second=second, distance=int(nearest[i, j]), exact=exact)
                )
    return pairs


def _hashes(measured: Sequence[Measured]) -> np.ndarray:
    """uint64 [n, variants, 4]."""
    stacked = [m.hashes for m in measured if m.hashes is not None]
    if not stacked:
        return np.zeros((0, 1, 4), np.uint64)
    return np.stack(stacked).view(np.uint64)


def _nearest(plain: np.ndarray, variants: np.ndarray) -> np.ndarray:
    """Least Hamming distance of the first hash of each to all hashes of the others, [n, m]."""
    distances = np.bitwise_count(plain[:, None, :1] ^ variants[None]).sum(-1, dtype=np.int32)
    nearest: np.ndarray = distances.min(axis=2)
    return nearest


def _look_alike(one: Measured, other: Measured) -> bool:
    if one.thumbnails is None or other.thumbnails is None:
        return False
    pairs = [(one.thumbnails[0], view) for view in other.thumbnails]
    pairs += [(other.thumbnails[0], view) for view in one.thumbnails]
    return any(
        np.abs(a.astype(np.float64) - view).mean() <= MAX_THUMBNAIL_DIFFERENCE
        for a, b in pairs
        for view in (b, b[:, ::-1])
    )
