"""Pixels → figures, on tiles of the full resolution: what it costs hardly grows with the picture.

Scaled down, a picture hides its faults: noise, JPEG's blocks and blur are lost first. So up to
36 tiles of 64 pixels are looked at as they are, spread evenly and in step with JPEG's grid of 8.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lora_ci.dataset.features import blur_ratio
from lora_ci.dataset.measured import EDGES_SIDE, Figures

TILE, TILES_A_SIDE = 64, 6
TEXTURED = 16
BLOCK_LEVELS = 24
PATCH = 16
# Octaves are compared as logarithms; so much of a level is added, so that flat tiles say nothing.
FLOOR = 0.3
LEVELS = 4
NEUTRAL = (0.0,) * (2 * (LEVELS - 1))
# A bar is one-colored up to so many levels, and the picture beside it differs nearly everywhere.
BAR_LEVELS, BAR_EDGE_SHARE = 12, 0.5
# Thinner bars come of scaling.
MIN_BAR = 4
WHITE, GROUND_SHARE = 250, 0.95
# A cell of the edge map holds an edge from so many levels of difference between neighbors.
EDGE_LEVELS = 24


def figures_of(gray: NDArray[np.uint8], small: NDArray[np.uint8]) -> Figures:
    """Luma [height, width] at full resolution and RGB [h, w, 3] scaled down → all figures."""
    tiles = _tiles(gray)
    luma = np.asarray(Image.fromarray(small).convert("L"))
    red, green, blue = (small[:, :, channel] for channel in range(3))
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return Figures(
        blur=blur_ratio(luma),
        octaves=_octaves(tiles) if len(tiles) >= TEXTURED else NEUTRAL,
        noise=_noise(tiles) if len(tiles) >= TEXTURED else 0.0,
        blockiness=_blockiness(tiles) if len(tiles) >= TEXTURED else 1.0,
        dark=float(np.percentile(luma, 99)),
        washed=_washed(small) if len(tiles) >= TEXTURED else 0.0,
        chroma=float(spread.mean()),
        border=_border(luma),
    )


def edges_of(small: NDArray[np.uint8]) -> bytes:
    """In which cells of the picture there is a strong edge, bits [32, 32] packed."""
    luma = Image.fromarray(small).convert("L")
    side = EDGES_SIDE * 8
    plain = np.asarray(luma.resize((side, side), Image.Resampling.BOX), np.int16)
    strength = np.zeros((side, side), np.int16)
    strength[:, 1:] = np.abs(np.diff(plain, axis=1))
    strength[1:] = np.maximum(strength[1:], np.abs(np.diff(plain, axis=0)))
    cells = strength.reshape(EDGES_SIDE, 8, EDGES_SIDE, 8).max(axis=(1, 3))
    return np.packbits(cells >= EDGE_LEVELS).tobytes()


def _tiles(gray: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[n, side, side], side 64 or what the picture has, a multiple of 8 if it can."""
    height, width = gray.shape
    side = min(TILE, height, width)
    side = side // 8 * 8 or side
    tops, lefts = _places(height, side), _places(width, side)
    return np.stack(
        [gray[y : y + side, x : x + side] for y in tops for x in lefts], dtype=np.float32
    )


def _places(length: int, side: int) -> list[int]:
    """Where tiles begin: evenly spread, multiples of 8, not overlapping."""
    count = max(1, min(TILES_A_SIDE, length // side))
    room = length - side
    places = [room * i / max(count - 1, 1) if count > 1 else room / 2 for i in range(count)]
    return [int(place) // 8 * 8 for place in places]


def _laplacian(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """|4 × the middle − its neighbors| of [n, h, w]."""
    result: NDArray[np.float32] = np.abs(
        4 * planes[:, 1:-1, 1:-1]
        - planes[:, :-2, 1:-1]
        - planes[:, 2:, 1:-1]
        - planes[:, 1:-1, :-2]
        - planes[:, 1:-1, 2:]
    )
    return result


def _halved(planes: NDArray[np.float32]) -> NDArray[np.float32]:
    rows = planes[:, ::2] + planes[:, 1::2]
    halved: NDArray[np.float32] = (rows[:, :, ::2] + rows[:, :, 1::2]) * np.float32(0.25)
    return halved


def _octaves(tiles: NDArray[np.float32]) -> tuple[float, ...]:
    """How much stronger detail is at each scale than at the next coarser, as logarithms.

    First of the mean, then of the 95th percentile, over the 16 tiles with most detail: a picture
    is as sharp as its sharpest parts, whatever lies out of focus behind them.
    """
    planes = [tiles]
    for _ in range(LEVELS - 1):
        planes.append(_halved(planes[-1]))
    details = [_laplacian(plane).reshape(len(tiles), -1) for plane in planes]
    means = np.array([detail.mean(axis=1) for detail in details])
    best = np.argsort(means.sum(axis=0))[-TEXTURED:]
    peaks = np.array([_percentile_95(detail[best]) for detail in details])
    logs = [np.log(kind + FLOOR).mean(axis=1) for kind in (means[:, best], peaks)]
    return tuple(float(value) for levels in logs for value in levels[:-1] - levels[1:])


def _percentile_95(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    rank = int(0.95 * (rows.shape[1] - 1))
    result: NDArray[np.float32] = np.partition(rows, rank, axis=1)[:, rank]
    return result


def _noise(tiles: NDArray[np.float32]) -> float:
    """Standard deviation of the noise, in levels, of the tenth of patches that are flattest.

    Patches near black or white are left out: there noise is cut off.
    Source: Immerkær 1996, "Fast Noise Variance Estimation".
    """
    k = TILE // PATCH
    patches = tiles.reshape(-1, k, PATCH, k, PATCH).swapaxes(2, 3).reshape(-1, PATCH, PATCH)
    level = patches.mean(axis=(1, 2))
    patches = patches[(level > 16) & (level < 239)]
    if not len(patches):
        return 0.0
    coarse = patches.reshape(-1, 4, PATCH // 4, 4, PATCH // 4).mean(axis=(2, 4))
    flattest = np.argsort(coarse.std(axis=(1, 2)))[: max(1, len(patches) // 10)]
    flat = patches[flattest]
    rows = flat[:, :, :-2] - 2 * flat[:, :, 1:-1] + flat[:, :, 2:]
    both = rows[:, :-2] - 2 * rows[:, 1:-1] + rows[:, 2:]
    return float(np.sqrt(np.pi / 2) / 6 * np.abs(both).mean())


def _blockiness(tiles: NDArray[np.float32]) -> float:
    """How many times stronger neighbors differ across lines 8 apart than elsewhere, at least 1.

    Over all offsets, as a picture may have been cut since; of both directions the weaker, as
    stripes in the picture have one.
    """
    return max(1.0, min(_grid(tiles, 1), _grid(tiles, 2)))


def _grid(tiles: NDArray[np.float32], axis: int) -> float:
    # Cut, so that one straight edge that happens to lie on the grid does not count as many blocks.
    steps = np.minimum(np.abs(np.diff(tiles, axis=axis)), BLOCK_LEVELS).mean(axis=(0, 3 - axis))
    offsets = np.array([steps[offset::8].mean() for offset in range(8)])
    worst = int(offsets.argmax())
    usual = float(np.median(np.delete(offsets, worst)))
    strongest = float(offsets[worst])
    return (strongest + FLOOR) / (usual + FLOOR)


def _washed(small: NDArray[np.uint8]) -> float:
    """The share of pixels that are white in two colors or all: light that is lost.

    A picture on a white ground has no such fault; it may touch one side.
    """
    red, green, blue = (small[:, :, channel] >= WHITE for channel in range(3))
    white = (red & green) | (red & blue) | (green & blue)
    sides = sum(bool(side.mean() > GROUND_SHARE) for side in _sides(white))
    return 0.0 if sides >= 3 else float(white.mean())


def _sides(plane: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    return plane[0], plane[-1], plane[:, 0], plane[:, -1]


def _border(luma: NDArray[np.uint8]) -> float:
    """The share of the area that one-colored bars cover which end in a straight line."""
    height, width = luma.shape
    if all((side >= WHITE).mean() > GROUND_SHARE for side in _sides(luma)):
        return 0.0  # a thing on a white ground may have straight sides
    kept_rows = height - _bar(luma) - _bar(luma[::-1])
    kept_columns = width - _bar(luma.T) - _bar(luma.T[::-1])
    return max(0.0, float(1 - kept_rows * kept_columns / (height * width)))


def _bar(luma: NDArray[np.uint8]) -> int:
    """How many rows from the top make a bar: a picture on a plain ground has none."""
    first = int(np.median(luma[0]))
    off = np.abs(luma.astype(np.int16) - first) > BAR_LEVELS
    shares = off.mean(axis=1)
    varied = np.flatnonzero(shares > 0.01)
    if not len(varied) or not varied[0]:
        return 0
    depth = int(varied[0])
    if depth < MIN_BAR:
        return 0
    beside = float(shares[depth : depth + 3].max())
    return depth if beside > BAR_EDGE_SHARE else 0
