"""Are pictures of different prompts different? A collapsed adapter draws one thing only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lora_ci.qa.evidence import Evidence
from lora_ci.qa.reading import Limit, Measure, Reading
from lora_ci.ruler.embedder import Features
from lora_ci.ruler.statistics import mean_of


def measure(evidence: Evidence) -> Reading:
    """How unlike pictures of different prompts are, as a share of what is to be had.

    That is the variety of the base's pictures or of the references, whichever is less.
    """
    asked = evidence.prompts.identity
    if len(asked) < 2 or len(evidence.references.features) < 2:
        return Reading(lacking="needs two identity prompts and two references")
    real = unlike(evidence.references.features[:, None])
    wanted = min(float(real.mean()), float(unlike(evidence.base.of(asked)).mean()))
    value = mean_of(unlike(evidence.adapter.of(asked)) / max(wanted, 1e-6))
    why = f"pictures of different prompts differ {value.mean:.2f} as much as they could"
    return Reading(metrics={"variety": value}, why=why)


def unlike(pictures: Features) -> NDArray[np.float64]:
    """1 less the mean cosine to the pictures of all other prompts with the same seed, [p].

    Shapes: pictures [p, s, d], p at least 2.
    """
    by_seed = pictures.astype(np.float64).transpose(1, 0, 2)
    cosines = by_seed @ by_seed.transpose(0, 2, 1)
    n = cosines.shape[1]
    others = (cosines.sum(axis=2) - np.diagonal(cosines, axis1=1, axis2=2)) / (n - 1)
    found: NDArray[np.float64] = 1 - others.mean(axis=0)
    return found


MEASURE = Measure(
    name="variety",
    run=measure,
    metrics=("variety",),
    limits={
        "variety": Limit(
            condition=">= 0.3",
            gate=True,
            fault="it draws nearly the same picture whatever is asked",
            hint="fewer images seen or a lower learning rate, and more different training pictures",
        )
    },
)
