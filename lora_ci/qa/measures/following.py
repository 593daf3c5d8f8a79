"""Does the adapter still draw what else the prompt says?"""

from __future__ import annotations

import numpy as np

from lora_ci.qa.evidence import Evidence
from lora_ci.qa.measures.flexibility import (
    LEAST,
    NO_TEXTS,
    SET_ASIDE,
    USE_CLIP,
    deaf,
    preference,
)
from lora_ci.qa.reading import Limit, Measure, Reading
from lora_ci.ruler.ratio import ratio_of


def measure(evidence: Evidence) -> Reading:
    """How much nearer pictures are to what their prompt asks than to what others ask.

    It is a share of what the base reaches, on identity and flexibility prompts. What they ask is
    their text without the trigger.
    """
    if evidence.texts is None:
        return Reading(lacking=NO_TEXTS, settle=USE_CLIP)
    asks = evidence.prompts.asks(evidence.trigger)
    if len(asks) < LEAST:
        lacking = f"{len(asks)} prompts ask for more than the trigger, needs {LEAST}"
        return Reading(lacking=lacking, settle=SET_ASIDE, owed=("following",))
    texts = np.stack([evidence.texts[text] for text in asks.values()])
    base = preference(evidence.base.of(list(asks)), texts)
    if problem := deaf(list(asks.values()), base):
        return Reading(lacking=problem, settle=SET_ASIDE, owed=("following",))
    value = ratio_of(preference(evidence.adapter.of(list(asks)), texts), paired=base)
    why = f"pictures follow their prompts {value.mean:.2f} as well as the base's"
    return Reading(metrics={"following": value}, why=why)


MEASURE = Measure(
    name="following",
    run=measure,
    metrics=("following",),
    limits={
        "following": Limit(
            condition=">= 0.4",
            gate=True,
            fault="it does not draw what its prompts say",
            hint="captions that tell what each picture shows, and fewer images seen",
        )
    },
)
