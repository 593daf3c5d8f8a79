"""Is the candidate at least as good as what is released? Paired: same pictures, same noise.

The gate's measure is the denoising loss on the held-out references: an embedder can be fooled by a
broken adapter, and pictures differ by luck.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lora_ci.qa.evidence import Evidence
from lora_ci.qa.reading import Limit, Measure, Reading
from lora_ci.ruler.likeness import identity
from lora_ci.ruler.statistics import Estimate, Mean, mean_of

# So many times the other's loss stands for one that is no number.
WORST = 1000.0


def measure(evidence: Evidence) -> Reading:
    """Candidate less released: of the loss as a share of it, and of identity."""
    losses, scale, released = evidence.losses, evidence.scale, evidence.released
    if released is None:
        return Reading(lacking="nothing is released yet")
    metrics: dict[str, Estimate] = {}
    told = []
    version = f"v{evidence.released_version}" if evidence.released_version else "the released one"
    value = None
    if losses and losses.released is not None:
        value = against(losses.adapter, losses.released)
    if value:
        metrics["loss.against-released"] = value
        word = "higher" if value.mean > 0 else "lower"
        told.append(
            f"loss on {value.n} held-out pictures {abs(value.mean):.1%} {word} than that of "
            f"{version}, on the same noise"
        )
    if scale:
        asked = evidence.prompts.identity
        moved = identity(scale, evidence.adapter.of(asked), released.of(asked))
        metrics["identity.against-released"] = moved
        told.append(f"identity {moved.mean:+.2f} on the same prompts and seeds")
    if not told:
        return Reading(lacking="needs references", settle="references (`qa.references`)")
    return Reading(metrics=metrics, why="; ".join(told))


def against(candidate: NDArray[np.float64], other: NDArray[np.float64]) -> Mean | None:
    """The candidate's mean loss over the other's, less 1; losses by picture [n].

    Hard pictures are hard for both, which the jackknife knows: its error is half of what the mere
    differences would have. Source: Cochran, Sampling Techniques (1977), section 6.17. A candidate
    that predicts what is no number has an infinite loss: surely the worst. None where there are no
    losses, or the other's are no numbers: nothing can be compared with them.
    """
    n = len(candidate)
    if n == 0 or not np.isfinite(other).all():
        return None
    if not np.isfinite(candidate).all():
        return Mean(mean=WORST, error=0.0, degrees=n - 1, n=n)
    top, bottom = candidate.sum(), other.sum()
    value = float(top / bottom) - 1
    if n < 2:
        return Mean(mean=value, error=0.0, degrees=0, n=n)
    without = (top - candidate) / (bottom - other)
    error = mean_of((n - 1) * without).error
    return Mean(mean=value, error=error, degrees=n - 1, n=n)


MEASURE = Measure(
    name="regression",
    run=measure,
    metrics=("loss.against-released", "identity.against-released"),
    limits={
        # A rise of the loss that nobody would see. Source: non-inferiority, e.g. Walker and
        # Nowacki, J. Gen. Intern. Med. 26 (2011), 192-196.
        "loss.against-released": Limit(
            condition="<= 0.05",
            gate=True,
            fault="it predicts the references worse than the released adapter",
            hint="look at what changed since the release: lora-ci explain",
        ),
        "identity.against-released": Limit(
            condition=">= -0.15",
            fault="it shows the concept less than the released adapter",
            hint="look at what changed since the release: lora-ci explain",
        ),
    },
)
