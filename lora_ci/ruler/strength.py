"""What an adapter does at several weights, and which one to use. Pure.

Weights are compared on the same prompts and seeds, so a few pictures do.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lora_ci.diffusion.request import Picture
from lora_ci.ruler.defects import SoundRange, defects
from lora_ci.ruler.embedder import Features
from lora_ci.ruler.likeness import Scale, identity_by_prompt
from lora_ci.ruler.statistics import Interval, tail_of

# A lower weight is taken if it loses no more than this: it disturbs the base less.
SLACK = 0.03
# The window holds the weights that lose no more than this.
WINDOW = 0.15
NO_BETTER = "at no weight is it nearer to the references than the base is"
# Draws of prompts from the prompts.
RESAMPLED = 400


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

    def told(self) -> dict[str, float | None]:
        """As JSON, with the score."""
        return {
            "weight": self.weight,
            "identity": self.identity,
            "clean": self.clean,
            "score": self.score,
        }


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What an adapter does at each weight, prompt by prompt.

    weights rise. identity [weights, p]; None: not measured. clean [weights, p] is the share of
    sound pictures.
    """

    weights: tuple[float, ...]
    identity: NDArray[np.float64] | None
    clean: NDArray[np.float64]

    @property
    def curve(self) -> tuple[Strength, ...]:
        """The means over prompts."""
        return self._means(slice(None))

    def window(self) -> Chosen | None:
        """The window with how sure it is; None where there is none."""
        found, prompts = find_window(self.curve), self.clean.shape[1]
        if found is None:
            return None
        source = np.random.default_rng(0)
        drawn = (self._means(row) for row in source.integers(0, prompts, (RESAMPLED, prompts)))
        others = tuple(window for curve in drawn if (window := find_window(curve)))
        return Chosen(window=found, others=others, n=prompts)

    def _means(self, prompts: slice | NDArray[np.int64]) -> tuple[Strength, ...]:
        identity = None if self.identity is None else self.identity[:, prompts].mean(axis=1)
        clean = self.clean[:, prompts].mean(axis=1)
        return tuple(
            Strength(
                weight=weight,
                identity=None if identity is None else float(identity[at]),
                clean=float(clean[at]),
            )
            for at, weight in enumerate(self.weights)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A window and those that other prompts, such as these, might have given (`others`)."""

    window: Window
    others: tuple[Window, ...]
    n: int

    def estimate(self, weight: Callable[[Window], float]) -> Resampled:
        """One of the window's weights as an estimate."""
        others = tuple(sorted(weight(window) for window in self.others))
        return Resampled(mean=weight(self.window), others=others, n=self.n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resampled:
    """A number with those found on prompts drawn anew from its own, from the least to the most.

    It is an Estimate. Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993),
    chapter 13.
    """

    mean: float
    others: tuple[float, ...]
    n: int

    def interval(self, confidence: float = 0.95) -> Interval:
        """The percentile interval; one prompt tells nothing of others."""
        tail = tail_of(confidence)
        if self.n < 2 or not self.others:
            return Interval(mean=self.mean, low=None, high=None, n=self.n)
        last = len(self.others) - 1
        low = self.others[math.floor(tail * last)]
        high = self.others[math.ceil((1 - tail) * last)]
        return Interval(
            mean=self.mean, low=min(low, self.mean), high=max(high, self.mean), n=self.n
        )


def try_weights(
    tried: Mapping[float, Tried], base: Features, scale: Scale | None, sound: SoundRange
) -> Trial:
    """What the adapter does at each weight.

    `base` [p, s, d] are the base's pictures of the same prompts and seeds, `scale` is theirs
    (`Scale.of_prompts`).
    """
    made = [tried[weight] for weight in sorted(tried)]
    clean = [
        np.reshape([not defects(p, sound) for p in one.pictures], (len(base), -1)).mean(axis=1)
        for one in made
    ]
    return Trial(
        weights=tuple(sorted(tried)),
        identity=None
        if scale is None
        else np.array([identity_by_prompt(scale, one.features, base) for one in made]),
        clean=np.array(clean),
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
