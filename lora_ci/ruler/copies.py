"""Is a picture drawn anew, or taken from the training pictures?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lora_ci.ruler.embedder import Features

# Training pictures at least so alike are one picture.
SAME = 0.9999


@dataclass(frozen=True, slots=True, kw_only=True)
class Twins:
    """The training picture that each generated one is most like.

    By generated picture [n]: `nearest` is its place among the training pictures, `cosine` how alike
    they are, `own` how alike that training picture is to the nearest different one.
    """

    nearest: NDArray[np.intp]
    cosine: NDArray[np.float64]
    own: NDArray[np.float64]

    @property
    def authentic(self) -> NDArray[np.bool_]:
        """Which pictures are no nearer to their twin than the twin is to other training pictures.

        A perfect generator that copies nothing has about half of its pictures so, a copier none.
        Source: Alaa et al., How Faithful is your Synthetic Data?, ICML 2022.
        """
        drawn_anew: NDArray[np.bool_] = self.cosine <= self.own
        return drawn_anew


def find_twins(generated: Features, training: Features) -> Twins:
    """The twins of generated pictures [n, d] among training pictures [m, d], all unit vectors.

    A picture that is in the training set several times has itself for no other: else whoever copies
    it would go free. Raises ValueError for fewer than two different training pictures.
    """
    known = training.astype(np.float64)
    among = known @ known.T
    among[among >= SAME] = -np.inf
    own = among.max(axis=1, initial=-np.inf)
    if not np.isfinite(own).any():
        raise ValueError("one training picture, needs two different ones")
    cosines = generated.astype(np.float64) @ known.T
    nearest = cosines.argmax(axis=1)
    return Twins(nearest=nearest, cosine=cosines.max(axis=1), own=own[nearest])
