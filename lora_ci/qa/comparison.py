"""Is the candidate at least as good as what is released? Paired: same pictures, same noise.

The measure is the denoising loss on the held-out references: an embedder can be fooled by a broken
adapter, and pictures differ by luck.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lora_ci.core.step import Outcome
from lora_ci.qa.gates import Gate
from lora_ci.ruler.statistics import Interval, mean_of

# A rise of the loss that nobody would see.
MARGIN = 0.05
METRIC = "loss.against-released"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The mean relative difference of the loss, candidate less released, over `pairs` pictures."""

    released_version: str | None
    metric: str
    difference: float
    low: float | None
    high: float | None
    pairs: int
    why: str


def paired_difference(candidate: NDArray[np.float64], other: NDArray[np.float64]) -> Interval:
    """Candidate less the other, as a share of the other's mean loss; losses by picture [n]."""
    return mean_of((candidate - other) / other.mean()).interval()


def compare(difference: Interval, version: str | None) -> Comparison:
    """The difference in words."""
    word = "higher" if difference.mean > 0 else "lower"
    against = f"v{version}" if version else "the released adapter"
    return Comparison(
        released_version=version,
        metric="loss",
        difference=difference.mean,
        low=difference.low,
        high=difference.high,
        pairs=difference.n,
        why=f"loss on {difference.n} held-out pictures {abs(difference.mean):.1%} {word} than that "
        f"of {against}, on the same noise",
    )


def not_worse(difference: Interval, comparison: Comparison) -> Gate:
    """Fails where more than the margin is surely lost, passes where surely not.

    Source: non-inferiority, e.g. Walker and Nowacki, J. Gen. Intern. Med. 26 (2011), 192-196.
    """
    if difference.low is None or difference.high is None:
        outcome = Outcome.INCONCLUSIVE
    elif difference.low > MARGIN:
        outcome = Outcome.FAILED
    elif difference.high <= MARGIN:
        outcome = Outcome.PASSED
    else:
        outcome = Outcome.INCONCLUSIVE
    return Gate(
        metric=METRIC,
        condition=f"<= {MARGIN:g}",
        value=difference.mean,
        low=difference.low,
        high=difference.high,
        outcome=outcome,
        why=comparison.why,
    )
