"""Is a picture broken? Statistics of pixels against those of pictures known to be sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lora_ci.diffusion.request import Picture
from lora_ci.ruler.repetition import repetition
from lora_ci.ruler.structure import luma

# A picture is broken if a statistic lies this many robust deviations outside the sound range.
MAX_DEVIATIONS = 4.0
MIN_CONTRAST = 0.01
NAMES = (
    *("saturation", "clipped", "contrast", "fine detail", "blockiness"),
    *("high frequencies", "repetition"),
)
# Floors of the spread, so that pictures which are all alike do not make all else an outlier. The
# sixth statistic is a logarithm.
LEAST_SPREAD = np.array([0.02, 0.02, 0.02, 0.02, 0.02, 0.25, 0.05])
# Cycles a pixel; the most that there can be is 0.5 along an axis.
HIGH_FREQUENCY = 0.25
# Less than rounding to 8 bits leaves there.
LEAST_SHARE = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundRange:
    """Range and robust spread of each statistic over sound pictures, [7] each."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    spread: NDArray[np.float64]


def sound_range(pictures: Sequence[Picture]) -> SoundRange:
    """The range of pictures that are held to be sound: the base's and the references."""
    table = np.array([measure(p) for p in pictures])
    center = np.median(table, axis=0)
    spread = np.maximum(1.4826 * np.median(np.abs(table - center), axis=0), LEAST_SPREAD)
    return SoundRange(low=table.min(axis=0), high=table.max(axis=0), spread=spread)


def defects(picture: Picture, sound: SoundRange) -> tuple[str, ...]:
    """What is wrong with a picture, by the names of the statistics; () for a sound one."""
    if is_blank(picture):
        return ("blank",)
    values = measure(picture)
    outside = np.maximum(values - sound.high, sound.low - values) / sound.spread
    return tuple(n for n, far in zip(NAMES, outside, strict=True) if far > MAX_DEVIATIONS)


def is_blank(picture: Picture) -> bool:
    """True for a picture [height, width, 3] of one brightness, or nearly."""
    return float(luma(picture).std()) / 255 < MIN_CONTRAST


def measure(picture: Picture) -> NDArray[np.float64]:
    """The statistics of a picture [height, width, 3], in the order of `NAMES`."""
    pixels = picture.astype(np.float64) / 255
    bright = luma(picture) / 255
    saturation = float((pixels.max(axis=2) - pixels.min(axis=2)).mean())
    # Burnt colors have every channel at an end; white paper and black ink do too, and are sound.
    low, high = pixels <= 0.004, pixels >= 0.996
    clipped = float(((low | high).all(axis=2) & low.any(axis=2) & high.any(axis=2)).mean())
    return np.array(
        [
            *(saturation, clipped, float(bright.std()), _fine(bright), _blockiness(bright)),
            *(_high_frequencies(bright), repetition(bright)),
        ]
    )


def _fine(bright: NDArray[np.float64]) -> float:
    """Mean step between neighbors over the contrast: noise has much, blur has little."""
    steps = (np.abs(np.diff(bright, axis=0)).mean() + np.abs(np.diff(bright, axis=1)).mean()) / 2
    return float(steps / (bright.std() + 0.01))


def _blockiness(bright: NDArray[np.float64]) -> float:
    """Steps at the strongest 8-pixel grid over all steps, above 1 by how much."""
    excess = []
    for axis in (0, 1):
        steps = np.abs(np.diff(bright, axis=axis)).mean(axis=1 - axis)
        if len(steps) >= 16:
            offset = np.arange(len(steps)) % 8
            grids = np.bincount(offset, steps) / np.bincount(offset)
            excess.append(grids.max() / (steps.mean() + 0.002) - 1)
    return float(max(excess, default=0.0))


def _high_frequencies(bright: NDArray[np.float64]) -> float:
    """Logarithm of the share of the energy that is in high frequencies.

    It falls with frequency alike in most pictures; what was blurred or made larger has next to
    none there, grain has much. Source: Field, J. Opt. Soc. Am. A 4 (1987), 2379-2394.
    """
    height, width = bright.shape
    down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
    # Half of the spectrum: the other half of a real picture's is its mirror image.
    energy = np.abs(np.fft.rfft2(bright - bright.mean())) ** 2
    high = energy[np.hypot(down, across) > HIGH_FREQUENCY].sum()
    return float(np.log(max(high / max(energy.sum(), 1e-9), LEAST_SHARE)))
