"""What an adapter does at several weights, and which one to use. Pure.

Weights are compared on the same prompts and seeds, so a few pictures do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lora_ci.diffusion.request import Picture
from lora_ci.ruler.defects import SoundRange, defects
from lora_ci.ruler.embedder import Features
from lora_ci.ruler.likeness import Scale, identity_by_prompt

# A lower weight is taken if it loses no more than this: it disturbs the base less.
SLACK = 0.03
# The window holds the weights that lose no more than this.
WINDOW = 0.15


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The weights at which an adapter is good, of those tried, and the one to use."""

    low: float
    high: float
    recommended: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """Pictures made at a weight, prompt by prompt, and their features [p, s, d]."""

    pictures: Sequence[Picture]
    features: Features


def find_curve(
    tried: Mapping[float, Tried], base: Features, scale: Scale | None, sound: SoundRange
) -> tuple[Strength, ...]:
    """What the adapter does at each weight, from the lowest to the highest.

    `base` [p, s, d] are the base's pictures of the same prompts and seeds, `scale` is theirs
    (`Scale.of_prompts`).
    """
    return tuple(
        Strength(
            weight=weight,
            identity=None
            if scale is None
            else float(identity_by_prompt(scale, made.features, base).mean()),
            clean=float(np.mean([not defects(picture, sound) for picture in made.pictures])),
        )
        for weight, made in sorted(tried.items())
    )


def find_window(curve: Sequence[Strength]) -> Window | None:
    """The weights about as good as the best, and the smallest of the very best.

    None where identity is unmeasured, or at no weight better than the base.
    """
    scores = [(s.weight, s.score) for s in curve if s.score is not None]
    best = max((score for _, score in scores), default=0.0)
    if best <= 0:
        return None
    good = [weight for weight, score in scores if score >= best - WINDOW]
    recommended = min(weight for weight, score in scores if score >= best - SLACK)
    return Window(low=min(good), high=max(good), recommended=recommended)
