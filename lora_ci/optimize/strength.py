"""Which weight to recommend. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# A lower weight is taken if it loses no more than this: it disturbs the base less.
SLACK = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Strength:
    """What an adapter does at a weight: identity (None: not measured), share of sound pictures."""

    weight: float
    identity: float | None
    clean: float

    @property
    def score(self) -> float | None:
        """Identity that is had in sound pictures; more than the real thing counts no more."""
        return None if self.identity is None else min(max(self.identity, 0.0), 1.0) * self.clean


def recommend(curve: Sequence[Strength]) -> float | None:
    """The smallest weight that is about as good as the best; None if identity is unmeasured."""
    scores = [(s.weight, s.score) for s in curve if s.score is not None]
    if not scores:
        return None
    best = max(score for _, score in scores)
    return min(weight for weight, score in scores if score >= best - SLACK)
