"""Pixels → numbers that duplicates and blur are told by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

HASH_SIDE = 16
DCT_SIDE = 64
CROPS = (0.0, 0.025, 0.05, 0.1)


def _dct_matrix(side: int, rows: int) -> NDArray[np.float64]:
    """The first `rows` rows of the DCT-II, [rows, side]."""
    k, n = np.arange(rows)[:, None], np.arange(side)[None]
    return np.cos(np.pi * (2 * n + 1) * k / (2 * side))


BASIS = _dct_matrix(DCT_SIDE, HASH_SIDE + 1)[1:]
ODD_COLUMNS = np.arange(1, HASH_SIDE + 1) % 2 == 1


def perceptual_hashes(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """256-bit hashes of the picture and three middle crops, each also mirrored, [8, 32].

    The signs of low DCT coefficients against their median. Mirroring a picture only turns the
    signs of the odd columns, so that hash comes free.
    Source: Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions".
    """
    picture = Image.fromarray(pixels).convert("L")
    hashes = []
    for crop in CROPS:
        box = _box(picture, crop)
        small = picture.resize((DCT_SIDE, DCT_SIDE), Image.Resampling.BOX, box=box)
        spectrum = BASIS @ np.asarray(small, np.float64) @ BASIS.T
        for view in (spectrum, np.where(ODD_COLUMNS, -spectrum, spectrum)):
            hashes.append(np.packbits(view > np.median(view)))
    return np.stack(hashes)


def thumbnails(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture and its middle crops at 16 × 16, uint8 [4, 16, 16, 3].

    Look-alike candidates are confirmed by them.
    """
    picture = Image.fromarray(pixels)
    small = (picture.resize((16, 16), Image.Resampling.BOX, box=_box(picture, c)) for c in CROPS)
    return np.stack([np.asarray(view) for view in small])


def _box(picture: Image.Image, crop: float) -> tuple[int, int, int, int]:
    """The middle of a picture, a share of each side left out."""
    w, h = picture.size
    return round(w * crop), round(h * crop), round(w * (1 - crop)), round(h * (1 - crop))


def blur_ratio(luma: NDArray[np.uint8]) -> float:
    """How much edge strength the picture loses when it is blurred once more, 0 to 1.

    A sharp picture loses much, a blurred one hardly anything, whatever is in it; flat art is not
    called blurred, as its few edges are sharp.
    Source: the idea of Crété et al. 2007, "The Blur Effect: Perception and Estimation with a New
    No-Reference Perceptual Blur Metric", on the strongest edges only.
    """
    gray = Image.fromarray(luma)
    scale = 256 / max(gray.size)
    if scale < 1:
        gray = gray.resize((max(1, round(gray.width * scale)), max(1, round(gray.height * scale))))
    plain = np.asarray(gray, np.float32)
    if min(plain.shape) < 8:
        return 1.0
    strongest = []
    for along in (plain, plain.T):
        edges = np.abs(along[2:-1] - along[1:-2])
        # What the difference is after each pixel became the mean of itself and its neighbors.
        softened = np.abs(along[3:] - along[:-3]) / 3
        # Sorted: most values are equal, with which numpy's partition takes ten times as long.
        strongest_edges = float(np.sort(edges, axis=None)[int(0.98 * (edges.size - 1))])
        strong = edges >= max(strongest_edges, 1.0)
        if strong.any():
            strongest.append(1 - softened[strong].sum() / edges[strong].sum())
    return float(max(strongest, default=1.0))
