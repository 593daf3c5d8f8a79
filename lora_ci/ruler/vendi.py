"""How many different pictures there are in effect."""

from __future__ import annotations

import numpy as np

from lora_ci.ruler.embedder import Features


def vendi_score(pictures: Features) -> float:
    """From 1, where all n pictures are alike, to n, where none is like another.

    The exponential of the entropy of the eigenvalues of the cosines over n; of unit vectors [n, d].
    Source: Friedman and Dieng, The Vendi Score, Trans. Mach. Learn. Res. 2023.
    Raises ValueError for no pictures.
    """
    if len(pictures) == 0:
        raise ValueError("no pictures to count")
    vectors = pictures.astype(np.float64)
    # The cosines have the squared singular values of the vectors for eigenvalues.
    shares = np.linalg.svd(vectors, compute_uv=False) ** 2 / len(vectors)
    some = shares[shares > 1e-12]
    return float(np.exp(-(some * np.log(some)).sum()))
