"""Features of a world whose truth is known: the base's pictures, an adapter's and real ones.

Pictures of a prompt share the prompt's effect, whoever draws them; the adapter adds an effect of
its own on each prompt. Real pictures differ as much as pictures of different prompts do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lora_ci.ruler.likeness import Scale, find_scale, identity

WIDTH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianWorld:
    """How far the real thing is, what of it the adapter reaches, and what varies how much."""

    gap: float = 4.0
    reached: float = 0.7
    aside: float = 0.0
    prompt: float = 0.7
    own: float = 0.4
    seed: float = 0.7

    def centers(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Of the references and of the adapter; the base's is 0."""
        real, other = np.eye(WIDTH)[:2]
        return self.gap * real, self.reached * self.gap * real + self.aside * other

    def draw(
        self, source: np.random.Generator, *, prompts: int, seeds: int, references: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Base and adapter [prompts, seeds, d], references [n, d]."""
        real, center = self.centers()
        effect = self.prompt * source.normal(size=(prompts, 1, WIDTH))
        shape = (prompts, seeds, WIDTH)
        base = effect + self.seed * source.normal(size=shape)
        own = self.own * source.normal(size=(prompts, 1, WIDTH))
        adapter = center + effect + own + self.seed * source.normal(size=shape)
        spread = np.hypot(self.prompt, self.seed)
        return base, adapter, real + spread * source.normal(size=(references, WIDTH))

    def truth(self, scale: Scale) -> float:
        """The ratio of population means on the scale's axis."""
        real, center = self.centers()
        axis = scale.whole.direction
        return float(axis @ center / (axis @ real))


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How often 95 % intervals held the truth, lay above it and below it; shares of the judged."""

    held: float
    above: float
    below: float
    judged: float


def coverage(
    world: GaussianWorld, runs: int, *, prompts: int, seeds: int, references: int, seed: int = 0
) -> Coverage:
    """Judges the same adapter many times, each on new pictures and references."""
    source = np.random.default_rng(seed)
    above = below = judged = 0
    for _ in range(runs):
        base, adapter, real = world.draw(
            source, prompts=prompts, seeds=seeds, references=references
        )
        scale, _ = find_scale(real, base)
        interval = identity(scale, adapter, base).interval() if scale else None
        if scale is None or interval is None or interval.low is None or interval.high is None:
            continue
        truth = world.truth(scale)
        judged += 1
        above += truth < interval.low
        below += truth > interval.high
    return Coverage(
        held=1 - (above + below) / judged,
        above=above / judged,
        below=below / judged,
        judged=judged / runs,
    )
