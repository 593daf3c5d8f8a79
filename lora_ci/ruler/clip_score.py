"""How well pictures fit their texts, by an embedder of both."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lora_ci.ruler.embedder import Features

WEIGHT = 2.5


def clip_score(pictures: Features, texts: Features) -> NDArray[np.float64]:
    """2.5 · max(cos, 0) of each picture and its text: unit vectors [n, d] both, scores [n].

    Source: Hessel et al., CLIPScore, EMNLP 2021, section 3.
    """
    cosines = np.einsum("nd,nd->n", pictures.astype(np.float64), texts.astype(np.float64))
    scores: NDArray[np.float64] = WEIGHT * np.maximum(cosines, 0)
    return scores
