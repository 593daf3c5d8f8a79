"""Do pictures still look as the base makes them, beside showing the concept?"""

from __future__ import annotations

import numpy as np

from lora_ci.qa.evidence import Evidence
from lora_ci.qa.measures.identity import REFERENCES
from lora_ci.qa.reading import Limit, Measure, Reading
from lora_ci.ruler.kernels import cubic_of_cosines, discrepancy, share_of
from lora_ci.ruler.statistics import bound

LEAST = 3
# How sure it must be that the base is unlike the references at all.
ERROR = 0.05


def measure(evidence: Evidence) -> Reading:
    """How unlike the references pictures are as a set, over how unlike the base's are.

    The set's kernel distance sees what the axis of identity does not: looks that come along, such
    as the base's light or its finish.
    """
    asked, references = evidence.prompts.identity, evidence.references.features
    if min(len(asked), len(references)) < LEAST:
        return Reading(
            lacking=f"needs {LEAST} identity prompts and {LEAST} references", settle=REFERENCES
        )
    if evidence.seen:
        return Reading(lacking=evidence.no_scale, settle=REFERENCES)
    real = references[:, None].astype(np.float64)
    of_base, made = (v.of(asked).astype(np.float64) for v in (evidence.base, evidence.adapter))
    base = discrepancy(of_base, real, cubic_of_cosines)
    low = bound(base.estimate(), "low", ERROR)
    if low is None or low <= 0:
        return Reading(
            lacking="as a set the base's pictures are not surely unlike the references",
            settle=REFERENCES,
        )
    value = share_of(discrepancy(made, real, cubic_of_cosines), base)
    why = f"as a set pictures are {value.mean:.2f} as far from the references as the base's are"
    return Reading(metrics={"base_look": value}, why=why)


MEASURE = Measure(
    name="base-look",
    run=measure,
    metrics=("base_look",),
    limits={
        "base_look": Limit(
            condition="<= 0.9",
            fault="as a whole its pictures are no nearer to the references than the base's: they "
            "keep the base's look, or have one of their own",
            hint="more images seen, a higher rank, or references that are like the training "
            "pictures",
        )
    },
)
