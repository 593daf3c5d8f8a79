"""How alike two pictures are, point by point. No learned weights, so no license but ours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lora_ci.diffusion.request import Picture

Plane = NDArray[np.float64]

WINDOW, SIGMA = 11, 1.5
# (K L)² for L = 255, K1 = 0.01 and K2 = 0.03.
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
# Keeps the similarity of gradients steady where there is none.
GRADIENT_FLOOR = 170.0


def luma(picture: Picture) -> Plane:
    """Brightness [height, width] from 0 to 255. Source: ITU-R BT.601-7, 2.5.1."""
    brightness: Plane = picture.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    return brightness


def ssim(one: Plane, other: Plane) -> float:
    """Structural similarity, 1 for the same picture; of planes from 0 to 255 of the same size.

    The mean over all places where the whole window of 11 lies within the picture.
    Source: Wang et al., IEEE Trans. Image Process. 13 (2004), 600-612, equation 13.
    Raises ValueError for sizes that differ, or less than the window.
    """
    _check(one, other, WINDOW)
    mean_one, mean_other = _blur(one), _blur(other)
    variance_one = _blur(one * one) - mean_one**2
    variance_other = _blur(other * other) - mean_other**2
    covariance = _blur(one * other) - mean_one * mean_other
    brightness = (2 * mean_one * mean_other + C1) / (mean_one**2 + mean_other**2 + C1)
    structure = (2 * covariance + C2) / (variance_one + variance_other + C2)
    return float((brightness * structure).mean())


def gmsd(one: Plane, other: Plane) -> float:
    """Gradient magnitude similarity deviation, 0 for the same picture, larger for a worse copy.

    Of planes from 0 to 255 of the same size, halved first; edges, which have no gradient, are left
    out. Source: Xue et al., IEEE Trans. Image Process. 23 (2014), 684-695, section II.
    Raises ValueError for sizes that differ, or less than 8.
    """
    _check(one, other, 8)
    first, second = _steepness(_halve(one)), _steepness(_halve(other))
    similar = (2 * first * second + GRADIENT_FLOOR) / (first**2 + second**2 + GRADIENT_FLOOR)
    return float(similar.std())


def _check(one: Plane, other: Plane, least: int) -> None:
    if one.shape != other.shape or min(one.shape) < least:
        raise ValueError(
            f"planes of {one.shape} and {other.shape}, expected the same size, {least} at least"
        )


def _blur(plane: Plane) -> Plane:
    """The mean under a Gaussian window, where it lies within the plane."""
    places = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(places**2) / (2 * SIGMA**2))
    weights /= weights.sum()
    rows = len(plane) - WINDOW + 1
    columns = plane.shape[1] - WINDOW + 1
    down = sum((w * plane[i : i + rows] for i, w in enumerate(weights)), np.zeros(1))
    across: Plane = sum((w * down[:, i : i + columns] for i, w in enumerate(weights)), np.zeros(1))
    return across


def _halve(plane: Plane) -> Plane:
    """Means of 2 x 2 points."""
    even = plane[: len(plane) // 2 * 2, : plane.shape[1] // 2 * 2]
    halved: Plane = even.reshape(len(even) // 2, 2, -1, 2).mean(axis=(1, 3))
    return halved


def _steepness(plane: Plane) -> Plane:
    """The gradient's magnitude by Prewitt's filters of a third."""
    across = plane[:, 2:] - plane[:, :-2]
    down = plane[2:] - plane[:-2]
    steep: Plane = np.hypot(
        (across[:-2] + across[1:-1] + across[2:]) / 3,
        (down[:, :-2] + down[:, 1:-1] + down[:, 2:]) / 3,
    )
    return steep
