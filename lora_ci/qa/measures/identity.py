"""Does the adapter show what it was taught?"""

from __future__ import annotations

from lora_ci.qa.evidence import Evidence
from lora_ci.qa.reading import Measure, Reading
from lora_ci.qa.scores import Anchors, Score
from lora_ci.ruler.likeness import MIN_PROMPTS, MIN_REFERENCES, identity
from lora_ci.ruler.statistics import Exact

# Half of the way to the real thing is a useful adapter; all of it is the best there can be.
ANCHORS = Anchors(0.0, 0.5, 1.0)
# Groups without any spread are infinitely far apart.
MAX_POWER = 1000.0
REFERENCES = "more references (`qa.references`), or an embedder that sees the concept better "
REFERENCES += "(`qa.embedder`)"
HELD_OUT = "references that are no training pictures (`qa.references`)"
PROMPTS = "two identity prompts or more (`qa.prompts`)"


def measure(evidence: Evidence) -> Reading:
    """The share of the way from the base's pictures to the references."""
    scale, asked = evidence.scale, evidence.prompts.identity
    if scale is None:
        return Reading(lacking=evidence.no_scale, settle=to_scale(evidence))
    value = identity(scale, evidence.adapter.of(asked), evidence.base.of(asked))
    why = f"{value.mean:.2f} of the way from the base to the references"
    return Reading(
        metrics={"identity": value, "power": Exact(value=min(scale.power, MAX_POWER))},
        why=why,
        score=Score(name="identity", metric=value, anchors=ANCHORS, why=why),
    )


def to_scale(evidence: Evidence) -> str:
    """What would give the scale that is lacking."""
    if evidence.seen:
        return HELD_OUT
    few = len(evidence.prompts.identity) < MIN_PROMPTS
    return PROMPTS if few and len(evidence.references.features) >= MIN_REFERENCES else REFERENCES


MEASURE = Measure(name="identity", run=measure, metrics=("identity", "power"))
