"""At which weights is the adapter good, and which one is to be recommended?"""

from __future__ import annotations

import numpy as np

from lora_ci.qa.evidence import Evidence
from lora_ci.qa.measures.identity import REFERENCES
from lora_ci.qa.reading import Limit, Measure, Reading
from lora_ci.ruler.statistics import Exact
from lora_ci.ruler.strength import Tried, find_curve, find_window


def measure(evidence: Evidence) -> Reading:
    """Identity that is had in sound pictures, weight by weight, on the same prompts and seeds."""
    prompts, scale = evidence.prompts, evidence.scale
    if scale is None:
        return Reading(lacking=evidence.no_scale, settle=REFERENCES)
    if not evidence.strengths:
        return Reading(lacking="no other weights were tried (`qa.strengths`)")
    asked = prompts.strength
    tried = {
        weight: Tried(pictures=views.drawn(asked), features=views.of(asked))
        for weight, views in evidence.strengths.items()
    }
    seeds = next(iter(tried.values())).features.shape[1]
    base = evidence.base.of(asked)[:, :seeds]
    of_these = scale.of_prompts([prompts.identity.index(prompt) for prompt in asked])
    curve = find_curve(tried, base, of_these, evidence.sound)
    window = find_window(curve)
    if window is None:
        return Reading(lacking="at no weight is it nearer to the references than the base is")
    metrics = {
        "recommended_weight": Exact(value=window.recommended),
        "window.low": Exact(value=window.low),
        "window.high": Exact(value=window.high),
    }
    why = (
        f"good from weight {window.low:g} to {window.high:g} of those tried, best use "
        f"{window.recommended:g}"
    )
    scores = np.array([point.score or 0.0 for point in curve])
    if scores.argmax() == len(scores) - 1 and len(scores) > 1 and scores[-1] > scores[-2]:
        why += "; it still rises at the highest: trained too little"
    return Reading(metrics=metrics, why=why, curve=curve, window=window)


MEASURE = Measure(
    name="strength",
    run=measure,
    metrics=("recommended_weight", "window.low", "window.high"),
    limits={
        "recommended_weight": Limit(
            condition="> 0.5",
            fault="it is far too strong: a small part of its weight does as much",
            hint="a lower learning rate or fewer images seen; or use it at the recommended weight",
        )
    },
)
