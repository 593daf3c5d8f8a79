"""Is the adapter cheap to use?"""

from __future__ import annotations

from lora_ci.qa.evidence import Evidence
from lora_ci.qa.reading import Measure, Reading
from lora_ci.qa.scores import Anchors, Score
from lora_ci.ruler.statistics import Exact

LATENCY = Anchors(2.0, 1.25, 1.0)
SIZE = Anchors(1.0, 0.25, 0.05)


def measure(evidence: Evidence) -> Reading:
    """The worse of its speed and its size, both in terms of the base."""
    cost = evidence.cost
    if cost is None:
        return Reading(lacking="nothing was timed")
    latency, size = Exact(value=cost.latency_ratio), Exact(value=cost.size_share)
    why = (
        f"{cost.latency_ratio:.2f}× the base's time a picture, {cost.size_bytes / 2**20:.1f} MiB "
        f"({cost.size_share:.1%} of the base), attached in {cost.attach_s:.2f} s"
    )
    slow = LATENCY.score(cost.latency_ratio) < SIZE.score(cost.size_share)
    metric, anchors = (latency, LATENCY) if slow else (size, SIZE)
    return Reading(
        metrics={"latency_ratio": latency, "size_share": size},
        why=why,
        score=Score(name="performance", metric=metric, anchors=anchors, why=why),
    )


MEASURE = Measure(name="performance", run=measure, metrics=("latency_ratio", "size_share"))
