"""Does the adapter show its concept with every seed?"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from lora_ci.qa.evidence import Evidence
from lora_ci.qa.measures.identity import to_scale
from lora_ci.qa.reading import Measure, Reading
from lora_ci.qa.scores import Anchors, Score
from lora_ci.ruler.likeness import likeness
from lora_ci.ruler.statistics import Mean, Positive, divided, mean_of

# Spread of likeness over seeds, as a share of the identity scale or of the real pictures' spread.
# An adapter that shows all of its concept with every other seed, and else nothing of it, has 0.5.
ANCHORS = Anchors(1.0, 0.5, 0.15)


def measure(evidence: Evidence) -> Reading:
    """The spread of likeness over the seeds of a prompt, in units of the scale."""
    scale, asked = evidence.scale, evidence.prompts.identity
    if scale is None:
        return Reading(lacking=evidence.no_scale, settle=to_scale(evidence))
    if evidence.seeds < 2:
        return Reading(lacking="needs at least 2 seeds", settle="`qa.seeds` of 2 or more")
    spreads = deviation(likeness(scale, evidence.adapter.of(asked)))
    n, spread = len(scale.real), float(deviation(scale.real))
    # A standard deviation's own error. Source: JCGM 100:2008 (GUM), E.4.3.
    of_real = Mean(mean=spread, error=spread / math.sqrt(2 * (n - 1)), degrees=n - 1, n=n)
    unit = max(of_real, scale.measured_span(), key=lambda measured: measured.mean)
    value = Positive(of=divided(mean_of(spreads / unit.mean), unit))
    why = f"likeness varies over seeds by {value.mean:.2f} of its scale"
    return Reading(
        metrics={"spread": value},
        why=why,
        score=Score(name="consistency", metric=value, anchors=ANCHORS, why=why),
    )


def deviation(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The standard deviation along the last axis [..., n], n at least 2, without bias.

    The root of the unbiased variance is too small: of 2 normal values it is 0.80 of the truth.
    Source: c4 in Duncan, Quality Control and Industrial Statistics (1974), table M.
    """
    n = values.shape[-1]
    c4 = math.sqrt(2 / (n - 1)) * math.exp(math.lgamma(n / 2) - math.lgamma((n - 1) / 2))
    unbiased: NDArray[np.float64] = values.std(axis=-1, ddof=1) / c4
    return unbiased


MEASURE = Measure(name="consistency", run=measure, metrics=("spread",))
