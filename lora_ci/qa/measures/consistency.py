"""Does the adapter show its concept with every seed?"""

from __future__ import annotations

import math

from lora_ci.qa.evidence import Evidence
from lora_ci.qa.measures.identity import REFERENCES
from lora_ci.qa.reading import Measure, Reading
from lora_ci.qa.scores import Anchors, Score
from lora_ci.ruler.likeness import likeness
from lora_ci.ruler.statistics import Mean, divided, mean_of

# Spread of likeness over seeds, as a share of the identity scale or of the real pictures' spread.
# An adapter that shows all of its concept with every other seed, and else nothing of it, has 0.5.
ANCHORS = Anchors(1.0, 0.5, 0.15)


def measure(evidence: Evidence) -> Reading:
    """The spread of likeness over the seeds of a prompt, in units of the scale."""
    scale, asked = evidence.scale, evidence.prompts.identity
    if scale is None:
        return Reading(lacking=evidence.no_scale, settle=REFERENCES)
    if evidence.seeds < 2:
        return Reading(lacking="needs at least 2 seeds", settle="`qa.seeds` of 2 or more")
    spreads = likeness(scale, evidence.adapter.of(asked)).std(axis=1, ddof=1)
    n, spread = len(scale.real), float(scale.real.std(ddof=1))
    # A standard deviation's own error. Source: JCGM 100:2008 (GUM), E.4.3.
    of_real = Mean(mean=spread, error=spread / math.sqrt(2 * (n - 1)), degrees=n - 1, n=n)
    unit = max(of_real, scale.measured_span(), key=lambda measured: measured.mean)
    value = divided(mean_of(spreads / unit.mean), unit)
    why = f"likeness varies over seeds by {value.mean:.2f} of its scale"
    return Reading(
        metrics={"spread": value},
        why=why,
        score=Score(name="consistency", metric=value, anchors=ANCHORS, why=why),
    )


MEASURE = Measure(name="consistency", run=measure, metrics=("spread",))
