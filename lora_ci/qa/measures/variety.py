"""Are pictures of different prompts different? A collapsed adapter draws one thing only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lora_ci.qa.evidence import Evidence
from lora_ci.qa.measures.identity import REFERENCES
from lora_ci.qa.reading import Limit, Measure, Reading
from lora_ci.ruler.embedder import Features
from lora_ci.ruler.ratio import ratio_of
from lora_ci.ruler.statistics import mean_of_pairs, shares_of_pairs

# What differs less is the same picture.
LEAST = 1e-6


def measure(evidence: Evidence) -> Reading:
    """How unlike pictures of different prompts are, as a share of what is to be had.

    That is the variety of the base's pictures or of the references, whichever is less.
    """
    asked = evidence.prompts.identity
    if min(len(asked), len(evidence.references.features)) < 3:
        return Reading(
            lacking="needs three identity prompts and three references",
            settle="more identity prompts (`qa.prompts`) and references (`qa.references`)",
            owed=("variety",),
        )
    real = mean_of_pairs(unlike(evidence.references.features[:, None]))
    base = shares_of_pairs(unlike(evidence.base.of(asked)))
    adapter = shares_of_pairs(unlike(evidence.adapter.of(asked)))
    if min(real.mean, float(base.mean())) < LEAST:
        same = "the references, or the base's pictures, are all the same"
        return Reading(lacking=same, settle=REFERENCES, owed=("variety",))
    if real.mean < base.mean():
        value = ratio_of(adapter, apart=real)
    else:
        value = ratio_of(adapter, paired=base)
    why = f"pictures of different prompts differ {max(value.mean, 0.0):.2f} as much as they could"
    return Reading(metrics={"variety": value}, why=why)


def unlike(pictures: Features) -> NDArray[np.float64]:
    """1 less the cosine of pictures of two prompts with the same seed, [p, p].

    Shapes: pictures [p, s, d], p at least 2.
    """
    by_seed = pictures.astype(np.float64).transpose(1, 0, 2)
    found: NDArray[np.float64] = 1 - (by_seed @ by_seed.transpose(0, 2, 1)).mean(axis=0)
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
