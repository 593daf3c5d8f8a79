"""Are the pictures sound?"""

from __future__ import annotations

from collections import Counter

import numpy as np

from lora_ci.qa.evidence import Evidence
from lora_ci.qa.reading import Limit, Measure, Reading
from lora_ci.qa.scores import Anchors, Score
from lora_ci.ruler.defects import defects, is_blank
from lora_ci.ruler.statistics import Exact, share_of

ANCHORS = Anchors(0.5, 0.85, 1.0)


def measure(evidence: Evidence) -> Reading:
    """The share of pictures within the range of the base's and the references.

    A blank picture counts against the adapter only where the base drew something.
    """
    prompts = evidence.prompts
    asked = tuple(dict.fromkeys((*prompts.identity, *prompts.flexibility)))
    found = [defects(picture, evidence.sound) for picture in evidence.adapter.drawn(asked)]
    of_base = evidence.base.drawn(asked)
    blank = sum(
        "blank" in names and not is_blank(other)
        for names, other in zip(found, of_base, strict=True)
    )
    sound = share_of(np.array([not names for names in found]).reshape(len(asked), -1))
    why = f"{sound.hits} of {sound.n} pictures are sound"
    counts = Counter(name for names in found for name in names)
    if counts:
        named = ", ".join(f"{name} ({count})" for name, count in counts.most_common())
        why += f"; outside the range of base and references: {named}"
    return Reading(
        metrics={"sound": sound, "blank": Exact(value=blank / len(found), n=len(found))},
        why=why,
        score=Score(name="artifact", metric=sound, anchors=ANCHORS, why=why),
    )


MEASURE = Measure(
    name="artifact",
    run=measure,
    metrics=("sound", "blank"),
    limits={
        "blank": Limit(
            condition="<= 0",
            gate=True,
            fault="pictures are blank where the base draws something",
            hint="values that are not finite, far too strong weights and safety checkers make "
            "blank pictures: train again with a tenth of the learning rate, or a lower weight",
        )
    },
)
