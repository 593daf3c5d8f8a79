"""Latent vectors as pictures, and pictures as latent vectors: the world's brush and its eye.

A picture is a sum of smooth waves, a wave a channel a coordinate. Reading is projection on them, so
what is painted over a picture, such as noise, hardly changes what is read, as with real embedders.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lora_ci.diffusion.request import Picture
from lora_ci.ruler.embedder import Features

SIDE = 32
GRAY = 128.0
# Root mean square of a painted channel; peaks stay within 8 bits.
LOUDNESS = 30.0
_WAVES = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (2, 2))
WIDTH = 3 * len(_WAVES)

Latents = NDArray[np.float64]


def _basis() -> Latents:
    """Orthonormal rows [WIDTH, SIDE · SIDE · 3]."""
    at = (np.arange(SIDE) + 0.5) * np.pi / SIDE
    rows = []
    for across, down in _WAVES:
        wave = np.cos(down * at)[:, None] * np.cos(across * at)[None, :]
        for channel in range(3):
            row = np.zeros((SIDE, SIDE, 3))
            row[:, :, channel] = wave / np.linalg.norm(wave)
            rows.append(row.ravel())
    return np.stack(rows)


BASIS = _basis()


def paint(latents: Latents) -> list[Picture]:
    """Pictures [SIDE, SIDE, 3] of latents [n, WIDTH], all as loud as each other."""
    waves = unit(latents) @ BASIS * (LOUDNESS * np.sqrt(BASIS.shape[1]))
    pixels = np.clip(np.rint(waves + GRAY), 0, 255).astype(np.uint8)
    return list(pixels.reshape(-1, SIDE, SIDE, 3))


def read(pictures: Sequence[Picture]) -> Latents:
    """Latents [n, WIDTH + 1] of pictures; the last coordinate is how bright they are."""
    pixels = np.stack(pictures).reshape(len(pictures), -1).astype(np.float64) - GRAY
    bright = pixels.mean(axis=1, keepdims=True) / GRAY
    return np.concatenate([pixels @ BASIS.T / (LOUDNESS * np.sqrt(BASIS.shape[1])), bright], axis=1)


def unit(latents: Latents) -> Latents:
    """Vectors [..., d] of length one."""
    scaled: Latents = latents / np.linalg.norm(latents, axis=-1, keepdims=True)
    return scaled


def features(latents: Latents) -> Features:
    """What is read from pictures painted from latents [..., WIDTH], but for rounding to 8 bits."""
    dark = np.zeros((*latents.shape[:-1], 1))
    return np.concatenate([unit(latents), dark], axis=-1).astype(np.float32)
