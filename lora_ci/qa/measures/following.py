"""Does the adapter still draw what else the prompt says?"""

from __future__ import annotations

import numpy as np

from lora_ci.qa.evidence import Evidence
from lora_ci.qa.measures.flexibility import NO_TEXTS, SET_ASIDE, USE_CLIP, deaf, preference
from lora_ci.qa.reading import Limit, Measure, Reading
from lora_ci.ruler.ratio import ratio_of


def measure(evidence: Evidence) -> Reading:
    """How much nearer pictures are to their own context than to others, over the base's.

    A context is a flexibility prompt without the trigger.
    """
    prompts = evidence.prompts
    if evidence.texts is None:
        return Reading(lacking=NO_TEXTS, settle=USE_CLIP)
    if len(prompts.flexibility) < 2:
        return Reading(lacking="one flexibility prompt, needs 2", settle=SET_ASIDE)
    contexts = np.stack([evidence.texts[context] for context in prompts.contexts])
    base = preference(evidence.base.of(prompts.flexibility), contexts)
    if problem := deaf(prompts.contexts, base):
        return Reading(lacking=problem, settle=SET_ASIDE)
    value = ratio_of(preference(evidence.adapter.of(prompts.flexibility), contexts), paired=base)
    why = f"pictures follow their prompts {value.mean:.2f} as well as the base's"
    return Reading(metrics={"following": value}, why=why)


MEASURE = Measure(
    name="following",
    run=measure,
    metrics=("following",),
    limits={
        "following": Limit(
            condition=">= 0.5",
            fault="it does not draw what its prompts say",
            hint="captions that tell what each picture shows, and fewer images seen",
        )
    },
)
