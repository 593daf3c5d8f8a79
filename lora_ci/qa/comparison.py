"""Is the candidate at least as good as what is released? Paired: same prompts, same seeds."""

from __future__ import annotations

from dataclasses import dataclass

from lora_ci.core.step import Outcome
from lora_ci.qa.gates import Gate
from lora_ci.ruler.embedder import Features
from lora_ci.ruler.likeness import Scale, likeness
from lora_ci.ruler.statistics import Interval, mean_interval

# A loss of identity that nobody would see.
MARGIN = 0.1
METRIC = "identity.against-released"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The mean difference of identity, candidate less released, over `pairs` prompts."""

    released_version: str | None
    metric: str
    difference: float
    low: float | None
    high: float | None
    pairs: int
    why: str


def paired_difference(scale: Scale, candidate: Features, released: Features) -> Interval:
    """Candidate less released in identity, over prompts; features [prompts, seeds, d]."""
    gained = likeness(candidate, scale.references) - likeness(released, scale.references)
    return mean_interval(gained.mean(axis=1) / scale.span)


def compare(difference: Interval, version: str | None) -> Comparison:
    """The difference in words."""
    word = "lost" if difference.mean < 0 else "gained"
    against = f"v{version}" if version else "the released adapter"
    return Comparison(
        released_version=version,
        metric="identity",
        difference=difference.mean,
        low=difference.low,
        high=difference.high,
        pairs=difference.n,
        why=f"identity {word} {abs(difference.mean):.2f} against {against} "
        f"on the same {difference.n} prompts and seeds",
    )


def not_worse(difference: Interval, comparison: Comparison) -> Gate:
    """Fails where more than the margin is surely lost, passes where surely not.

    Source: non-inferiority, e.g. Walker and Nowacki, J. Gen. Intern. Med. 26 (2011), 192-196.
    """
    if difference.low is None or difference.high is None:
        outcome = Outcome.INCONCLUSIVE
    elif difference.high < -MARGIN:
        outcome = Outcome.FAILED
    elif difference.low >= -MARGIN:
        outcome = Outcome.PASSED
    else:
        outcome = Outcome.INCONCLUSIVE
    return Gate(
        metric=METRIC,
        condition=f">= -{MARGIN:g}",
        value=difference.mean,
        low=difference.low,
        high=difference.high,
        outcome=outcome,
        why=comparison.why,
    )
