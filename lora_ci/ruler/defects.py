"""Is a picture broken? Statistics of pixels against those of pictures known to be sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lora_ci.diffusion.request import Picture

# A picture is broken if a statistic lies this many robust deviations outside the sound range.
MAX_DEVIATIONS = 4.0
MIN_CONTRAST = 0.01
NAMES = ("saturation", "clipped", "contrast", "fine detail", "blockiness")


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundRange:
    """Range and robust spread of each statistic over sound pictures, [5] each."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    spread: NDArray[np.float64]


def sound_range(pictures: Sequence[Picture]) -> SoundRange:
    """The range of pictures that are held to be sound: the base's and the references."""
    table = np.array([measure(p) for p in pictures])
    center = np.median(table, axis=0)
    # A floor, so that pictures which are all alike do not make everything else an outlier.
    spread = np.maximum(1.4826 * np.median(np.abs(table - center), axis=0), 0.02)
    return SoundRange(low=table.min(axis=0), high=table.max(axis=0), spread=spread)


def defects(picture: Picture, sound: SoundRange) -> tuple[str, ...]:
    """What is wrong with a picture, by the names of the statistics; () for a sound one."""
    values = measure(picture)
    if values[NAMES.index("contrast")] < MIN_CONTRAST:
        return ("blank",)
    outside = np.maximum(values - sound.high, sound.low - values) / sound.spread
    return tuple(n for n, far in zip(NAMES, outside, strict=True) if far > MAX_DEVIATIONS)


def measure(picture: Picture) -> NDArray[np.float64]:
    """The statistics of a picture [height, width, 3], in the order of `NAMES`."""
    pixels = picture.astype(np.float64) / 255
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    saturation = float((pixels.max(axis=2) - pixels.min(axis=2)).mean())
    # Burnt colors have every channel at an end; white paper and black ink do too, and are sound.
    low, high = pixels <= 0.004, pixels >= 0.996
    clipped = float(((low | high).all(axis=2) & low.any(axis=2) & high.any(axis=2)).mean())
    return np.array([saturation, clipped, float(luma.std()), _fine(luma), _blockiness(luma)])


def _fine(luma: NDArray[np.float64]) -> float:
    """Mean step between neighbors over the contrast: noise has much, blur has little."""
    steps = (np.abs(np.diff(luma, axis=0)).mean() + np.abs(np.diff(luma, axis=1)).mean()) / 2
    return float(steps / (luma.std() + 0.01))


def _blockiness(luma: NDArray[np.float64]) -> float:
    """Steps at the strongest 8-pixel grid over all steps, above 1 by how much."""
    excess = []
    for axis in (0, 1):
        steps = np.abs(np.diff(luma, axis=axis)).mean(axis=1 - axis)
        if len(steps) >= 16:
            grids = [steps[offset::8].mean() for offset in range(8)]
            excess.append(max(grids) / (steps.mean() + 0.002) - 1)
    return float(max(excess, default=0.0))
