"""Colors and textures as features: no model, no license, weak on what a picture shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lora_ci.diffusion.request import Picture
from lora_ci.ruler.embedder import Features

SIDE = 64
COLOR_BINS = 4
GRADIENT_BINS = 8
BANDS = 8


class ClassicEmbedder:
    """A color histogram, gradient directions by region, and the spectrum's profile."""

    def embed_pictures(self, pictures: Sequence[Picture]) -> Features:
        return np.stack([_features(picture) for picture in pictures])


def _features(picture: Picture) -> Features:
    small = Image.fromarray(picture).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    pixels = np.asarray(small, np.float64) / 255
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    parts = [_colors(pixels), _gradients(luma), _spectrum(luma)]
    # Each kind of statistic weighs the same; roots tame the few large bins.
    unit = [np.sqrt(part / max(float(part.sum()), 1e-9)) for part in parts]
    joined = np.concatenate(unit) / np.sqrt(len(unit))
    unit_joined: Features = (joined / max(float(np.linalg.norm(joined)), 1e-9)).astype(np.float32)
    return unit_joined


def _colors(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Joint color histogram, [4³]."""
    bins = np.minimum((pixels * COLOR_BINS).astype(int), COLOR_BINS - 1).reshape(-1, 3)
    index = bins @ np.array([COLOR_BINS**2, COLOR_BINS, 1])
    return np.bincount(index, minlength=COLOR_BINS**3).astype(np.float64)


def _gradients(luma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gradient directions weighed by strength in 2 × 2 regions, [4 · 8]."""
    dy, dx = np.gradient(luma)
    strength = np.hypot(dx, dy)
    direction = ((np.arctan2(dy, dx) + np.pi) / (2 * np.pi) * GRADIENT_BINS).astype(int)
    direction %= GRADIENT_BINS
    half = SIDE // 2
    regions = [(slice(a, a + half), slice(b, b + half)) for a in (0, half) for b in (0, half)]
    return np.concatenate(
        [
            np.bincount(direction[r].ravel(), strength[r].ravel(), minlength=GRADIENT_BINS)
            for r in regions
        ]
    )


def _spectrum(luma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Amplitude by distance from frequency zero, [8]."""
    amplitude = np.abs(np.fft.fftshift(np.fft.fft2(luma - luma.mean())))
    y, x = np.indices(amplitude.shape) - SIDE // 2
    band = np.minimum((np.hypot(x, y) / (SIDE / 2) * BANDS).astype(int), BANDS - 1)
    return np.bincount(band.ravel(), amplitude.ravel(), minlength=BANDS).astype(np.float64)
