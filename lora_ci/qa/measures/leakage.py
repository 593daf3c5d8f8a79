"""Does the adapter stay out of the way where its trigger is not named?"""

from __future__ import annotations

from lora_ci.qa.evidence import Evidence
from lora_ci.qa.measures.identity import to_scale
from lora_ci.qa.reading import Limit, Measure, Reading
from lora_ci.ruler.likeness import identity


def measure(evidence: Evidence) -> Reading:
    """Identity on prompts without the trigger: 0 where nothing changes."""
    scale, asked = evidence.scale, evidence.prompts.bare
    if scale is None:
        return Reading(lacking=evidence.no_scale, settle=to_scale(evidence))
    if not asked:
        return Reading(lacking="no prompts without the trigger (`qa.base_prompts`)")
    adapter, base = evidence.adapter.of(asked), evidence.base.of(asked)
    value = identity(scale, adapter, base, same_prompts=False)
    why = f"without the trigger pictures go {value.mean:.2f} of the way to the references"
    return Reading(metrics={"leakage": value}, why=why)


MEASURE = Measure(
    name="leakage",
    run=measure,
    metrics=("leakage",),
    limits={
        "leakage": Limit(
            condition="<= 0.4",
            fault="it changes pictures that do not name its trigger",
            hint="captions that name the trigger and what else is seen, or regularization images "
            "(`train.regularization`)",
        )
    },
)
