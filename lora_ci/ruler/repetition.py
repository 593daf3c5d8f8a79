"""Does a picture hold the same thing twice? Bases drawn larger than they were made for do that."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float64]

# Structure that counts is seen at this size, and larger pictures take long.
MAX_SIDE = 128
# Shifts, as shares of a side: smaller ones find that edges go on, larger ones compare next to none.
LEAST_SHIFT, MOST_SHIFT = 1 / 6, 3 / 4
# Of all edges, so many must lie in what a shift lays over each other.
LEAST_SHARE = 0.2


def repetition(bright: Plane) -> float:
    """How alike a picture [height, width] from 0 to 1 is to itself, shifted: 1 for a copy.

    It is the highest correlation of its gradients over all shifts that are not small, each over
    what the shift lays over each other. Source: the autocorrelation of Fridrich, Soukal and Lukas,
    Detection of Copy-Move Forgery in Digital Images, DFRWS 2003.
    """
    small = _shrunk(bright)
    down, across = np.diff(small, axis=0)[:, :-1], np.diff(small, axis=1)[:-1]
    height, width = down.shape
    edges = down**2 + across**2
    if edges.sum() <= 0:
        return 0.0
    # Twice as large, so that what leaves on one side does not come in on the other; transforms of
    # powers of two are quick.
    size = (1 << (2 * height - 1).bit_length(), 1 << (2 * width - 1).bit_length())

    spectrum, of_down, of_across, of_all = (
        np.fft.rfft2(plane, size) for plane in (edges, down, across, np.ones_like(edges))
    )
    # What a shift lays over the picture, and what the opposite shift does.
    mine = np.fft.irfft2(np.conj(spectrum) * of_all, size)
    other = np.roll(mine[::-1, ::-1], 1, axis=(0, 1))
    both = np.fft.irfft2(np.abs(of_down) ** 2 + np.abs(of_across) ** 2, size)
    alike = both / (np.sqrt(np.maximum(mine, 0) * np.maximum(other, 0)) + 1e-3 * edges.sum())
    rows, columns = (np.abs(np.fft.fftfreq(side, 1 / side)) for side in size)
    rows, columns = rows[:, None] / height, columns[None, :] / width
    counts = (
        ((rows >= LEAST_SHIFT) | (columns >= LEAST_SHIFT))
        & (np.maximum(rows, columns) <= MOST_SHIFT)
        & (np.minimum(mine, other) > LEAST_SHARE * edges.sum())
    )
    return float(max(alike[counts].max(initial=0.0), 0.0))


def _shrunk(bright: Plane) -> Plane:
    """Means of squares of pixels, such that no side is longer than wanted."""
    step = -(-max(bright.shape) // MAX_SIDE)
    if step == 1:
        return bright
    height, width = (side // step * step for side in bright.shape)
    squares = bright[:height, :width].reshape(height // step, step, width // step, step)
    shrunk: Plane = squares.mean(axis=(1, 3))
    return shrunk
