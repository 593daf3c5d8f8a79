"""Does the adapter predict held-out pictures better than the base, and about as well as its own?"""

from __future__ import annotations

from lora_ci.qa.evidence import Evidence
from lora_ci.qa.measures.regression import against
from lora_ci.qa.reading import Limit, Measure, Reading
from lora_ci.ruler.statistics import Estimate, Mean, sum_of_errors


def measure(evidence: Evidence) -> Reading:
    """Loss against the base's, and the gap: gain on training pictures less that on held-out ones.

    Gains are shares of the base's loss on the same pictures and noise.
    """
    losses = evidence.losses
    if losses is None or not len(losses.base):
        return Reading(lacking="needs references", settle="references (`qa.references`)")
    held_out = against(losses.adapter, losses.base)
    if held_out is None:
        return Reading(
            lacking="the base itself predicts what is no number",
            settle="another `qa.precision`",
            owed=("loss.against-base",),
        )
    metrics: dict[str, Estimate] = {"loss.against-base": held_out}
    word = "above" if held_out.mean > 0 else "below"
    why = f"loss on held-out pictures {abs(held_out.mean):.1%} {word} the base's"
    trained = against(losses.adapter_trained, losses.base_trained)
    if trained and not evidence.seen:
        gap = _difference(held_out, trained)
        metrics["loss.gap"] = gap
        word = "above" if trained.mean > 0 else "below"
        why += f"; on those it was trained on {abs(trained.mean):.1%} {word}: gap {gap.mean:.1%}"
    owed = ("loss.gap",) if len(losses.base_trained) and trained is None else ()
    return Reading(metrics=metrics, why=why, owed=owed)


def _difference(one: Mean, other: Mean) -> Mean:
    error, degrees = sum_of_errors((one.error, one.degrees), (other.error, other.degrees))
    n = min(one.n, other.n)
    return Mean(mean=one.mean - other.mean, error=error, degrees=degrees, n=n)


MEASURE = Measure(
    name="loss-gap",
    run=measure,
    metrics=("loss.against-base", "loss.gap"),
    limits={
        "loss.against-base": Limit(
            condition="<= 0.1",
            gate=True,
            fault="it predicts real pictures of its concept worse than the base does",
            hint="the adapter is broken or far too strong: a tenth of the learning rate, or fewer "
            "images seen",
        ),
        "loss.gap": Limit(
            condition="<= 0.35",
            gate=True,
            fault="it knows its training pictures much better than new ones: overtrained",
            hint="fewer images seen, more training pictures, or a lower rank",
        ),
    },
)
