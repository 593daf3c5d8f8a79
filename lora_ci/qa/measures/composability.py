"""Does the adapter work beside a second one?"""

from __future__ import annotations

import numpy as np

from lora_ci.qa.evidence import Evidence
from lora_ci.qa.measures.identity import to_scale
from lora_ci.qa.reading import Limit, Measure, Reading
from lora_ci.ruler.likeness import identity_by_prompt
from lora_ci.ruler.ratio import ratio_of
from lora_ci.ruler.statistics import Estimate, mean_of


def measure(evidence: Evidence) -> Reading:
    """What stays of the concept with the other adapter on, and of the other one's own effect.

    The concept's part is identity with both over identity alone. The other's part is how far
    pictures move along the way that the other alone moves the base's, over that way.
    """
    scale, asked, composed = evidence.scale, evidence.prompts.identity, evidence.composed
    if composed is None:
        return Reading(lacking="no second adapter is named (`qa.compose_with`)")
    if scale is None:
        return Reading(lacking=evidence.no_scale, settle=to_scale(evidence))
    base, alone, both = (
        views.of(asked) for views in (evidence.base, evidence.adapter, composed.both)
    )
    shown = identity_by_prompt(scale, alone, base)
    low = mean_of(shown).interval().low
    if low is None or low <= 0:
        return Reading(lacking="alone it does not surely show its concept")
    kept = ratio_of(identity_by_prompt(scale, both, base), paired=shown)
    metrics: dict[str, Estimate] = {"composability": kept}
    why = f"beside the second adapter {kept.mean:.2f} of the concept stays"
    way = (composed.other.of(asked) - base).astype(np.float64).mean(axis=1)
    moved = (both - alone).astype(np.float64).mean(axis=1)
    length = (way * way).sum(axis=1)
    if length.mean() > 0:
        other = ratio_of((moved * way).sum(axis=1), paired=length)
        metrics["composability.other"] = other
        why += f", and {other.mean:.2f} of what the other does"
    return Reading(metrics=metrics, why=why)


MEASURE = Measure(
    name="composability",
    run=measure,
    metrics=("composability", "composability.other"),
    limits={
        "composability": Limit(
            condition=">= 0.6",
            fault="beside the second adapter its concept is lost",
            hint="a lower weight of either, or fewer taught modules (`train.modules`)",
        ),
        "composability.other": Limit(
            condition=">= 0.4",
            fault="it drowns the second adapter",
            hint="a lower weight, or fewer images seen",
        ),
    },
)
