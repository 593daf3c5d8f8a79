"""At which weights is the adapter good, and which one is to be recommended?"""

from __future__ import annotations

from lora_ci.qa.evidence import Evidence
from lora_ci.qa.measures.identity import to_scale
from lora_ci.qa.measures.regression import against
from lora_ci.qa.reading import Limit, Measure, Reading
from lora_ci.ruler.statistics import Estimate
from lora_ci.ruler.strength import NO_BETTER, Chosen, Trial, Tried, try_weights


def measure(evidence: Evidence) -> Reading:
    """Loss against that at half the weight; identity in sound pictures, weight by weight.

    The loss is had on the same noise, so it is far surer than what pictures show. All weights have
    the same prompts and seeds.
    """
    losses, metrics, told = evidence.losses, dict[str, Estimate](), list[str]()
    value = None
    if losses is not None and losses.half is not None:
        value = against(losses.adapter, losses.half)
    if value:
        metrics["loss.against-half"] = value
        word = "above" if value.mean > 0 else "below"
        told.append(f"loss on held-out pictures {abs(value.mean):.1%} {word} that at half weight")
    trial = _trial(evidence)
    found = trial.window() if trial else None
    curve = trial.curve if trial else ()
    if found is None and not metrics:
        return Reading(lacking=_lacking(evidence), settle=to_scale(evidence), curve=curve)
    if found is None:
        told.append(_lacking(evidence))
        return Reading(metrics=metrics, why="; ".join(told), curve=curve)
    metrics["recommended_weight"] = found.estimate(lambda window: window.recommended)
    metrics["window.low"] = found.estimate(lambda window: window.low)
    metrics["window.high"] = found.estimate(lambda window: window.high)
    told.append(_tell(found, [point.weight for point in curve]))
    return Reading(metrics=metrics, why="; ".join(told), curve=curve, window=found.window)


def _trial(evidence: Evidence) -> Trial | None:
    """What the weights do, if identity can be judged and any were tried."""
    prompts, scale = evidence.prompts, evidence.scale
    if scale is None or not evidence.strengths:
        return None
    asked = prompts.strength
    tried = {
        weight: Tried(pictures=views.drawn(asked), features=views.of(asked))
        for weight, views in evidence.strengths.items()
    }
    seeds = next(iter(tried.values())).features.shape[1]
    base = evidence.base.of(asked)[:, :seeds]
    of_these = scale.of_prompts([prompts.identity.index(prompt) for prompt in asked])
    return try_weights(tried, base, of_these, evidence.sound)


def _lacking(evidence: Evidence) -> str:
    """Why no weight is recommended."""
    if evidence.scale is None:
        return evidence.no_scale
    if not evidence.strengths:
        return "no other weights were tried (`qa.strengths`)"
    return NO_BETTER


def _tell(found: Chosen, weights: list[float]) -> str:
    """The window in words; what the curve does at its ends is said only if it surely does."""
    window = found.window
    told = (
        f"good from weight {window.low:g} to {window.high:g} of those tried, best use "
        f"{window.recommended:g}"
    )
    ends = found.estimate(lambda one: one.recommended).interval()
    if len(weights) < 2:
        return told
    if ends.high == weights[0]:
        return told + "; more than the lowest weight tried makes it no better"
    if ends.low == weights[-1]:
        return told + "; it still gets better at the highest: trained too little"
    return told


MEASURE = Measure(
    name="strength",
    run=measure,
    metrics=("loss.against-half", "recommended_weight", "window.low", "window.high"),
    limits={
        "loss.against-half": Limit(
            condition="<= 0.05",
            gate=True,
            fault="it is far too strong: half its weight predicts real pictures better",
            hint="use it at a lower weight (`qa.weight`), or train with a lower learning rate or "
            "fewer images seen; an adapter that was merged or scaled by mistake is made anew",
        ),
        "recommended_weight": Limit(
            condition="> 0.5",
            fault="it is too strong: a small part of its weight shows the concept as well",
            hint="use it at the recommended weight, or fewer images seen",
        ),
    },
)
