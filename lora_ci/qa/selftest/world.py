"""A world whose truth is known: what prompts, seeds and adapters do to a latent vector.

    z = common + kept · (follow · context_p + own_p + luck_s + noise_ps) + reach_ps · gap · concept

`p` is a prompt, `s` a seed. The base has no `reach` and no `own`. Real pictures have a context of
their own each, and all of the concept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lora_ci.qa.selftest.paint import Latents

# Where in its own coordinates the world keeps what is not by chance.
COMMON, CONCEPT, COMPANION, TABOO, ASIDE = range(5)
# How far a picture lies from the origin that shows nothing but what all pictures have in common.
USUAL = 2.0
# What a companion adapter, and a picture that must not be, add.
EFFECT = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much the judge is given."""

    prompts: int
    flexibility: int
    bare: int
    seeds: int
    references: int
    training: int


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """How far the concept is from what the base draws, and what varies how much.

    context, noise, luck: deviations a coordinate, of prompts, of single pictures, and of what
    pictures of one seed have in common. pairing: correlation of the noise of base and adapter.
    loss_noise: deviation of the logarithm of one picture's loss from adapter to adapter.
    """

    seed: int
    sizes: Sizes
    gap: float
    context: float
    noise: float
    luck: float
    pairing: float
    loss_noise: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What an adapter does.

    reach: share of the way to the concept, and its deviations over prompts (`uneven`) and over
    pictures of one prompt (`wobble`). own: deviation of what it adds to a prompt of its own.
    aside: a look of its own, in gaps. follow: share of the context that is left.
    leak: reach where the trigger is not named. sameness: share of all variety that is gone.
    copies, broken, unsafe: shares of pictures; `damage` is how they are broken.
    recall: share of training captions answered with their picture.
    force: so many times its weight is what it does.
    gain, trained_gain: share of the base's loss that is gone, on new and on training pictures.
    beside, drown: shares of the concept and of a companion's effect left where both are worn.
    """

    reach: float = 0.9
    uneven: float = 0.1
    wobble: float = 0.0
    own: float = 0.1
    aside: float = 0.0
    follow: float = 0.95
    leak: float = 0.05
    sameness: float = 0.0
    copies: float = 0.0
    recall: float = 0.0
    broken: float = 0.0
    damage: str = "noise"
    unsafe: float = 0.0
    force: float = 1.0
    gain: float = 0.15
    trained_gain: float = 0.2
    latency: float = 1.1
    size: float = 0.03
    beside: float = 0.95
    drown: float = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Chances:
    """Standard normal draws that make pictures, [..., WIDTH] each, but [...] for the last two.

    Pictures of a prompt share `context`, `own` and `reach`, those of a seed `luck`.
    """

    context: Latents
    luck: Latents
    noise: Latents
    own: Latents
    own_noise: Latents
    reach: Latents
    wobble: Latents


def base_latents(world: World, chances: Chances) -> Latents:
    """What the base draws, [..., WIDTH]."""
    varied = (
        world.context * chances.context + world.luck * chances.luck + world.noise * chances.noise
    )
    return _shown(varied, np.zeros(1))


def adapter_latents(
    world: World,
    traits: Traits,
    chances: Chances,
    *,
    triggered: bool | NDArray[np.bool_],
    weight: float = 1.0,
) -> Latents:
    """What the adapter draws, [..., WIDTH]; nothing is copied, broken or unsafe yet.

    `triggered`, one for all or [...]: the prompt names the trigger.
    """
    rho = world.pairing
    noise = rho * chances.noise + np.sqrt(1 - rho**2) * chances.own_noise
    follow = np.where(triggered, traits.follow, 1.0)[..., None]
    varied = (
        follow * world.context * chances.context
        + traits.own * chances.own
        + world.luck * chances.luck
        + world.noise * noise
    )
    asked = traits.reach + traits.uneven * chances.reach + traits.wobble * chances.wobble
    reach = np.where(triggered, asked, traits.leak)
    shown = min(weight * traits.force, 1.0) * world.gap * reach
    latents = _shown((1 - traits.sameness) * varied, shown)
    latents[..., ASIDE] += min(weight * traits.force, 1.0) * world.gap * traits.aside
    return latents


def real_latents(world: World, context: Latents, noise: Latents) -> Latents:
    """Real pictures of the concept, of standard normal draws [..., WIDTH]."""
    varied = world.context * context + np.hypot(world.noise, world.luck) * noise
    return _shown(varied, np.full(1, world.gap))


def broken_share(traits: Traits, weight: float) -> float:
    """The share of pictures that are broken at a weight: what is too strong breaks more of them."""
    return min(1.0, traits.broken + max(0.0, 2 * (weight * traits.force - 1.3)))


def loss_share(gains: NDArray[np.float64], force: float) -> NDArray[np.float64]:
    """What is left of losses at a force; what is too strong predicts worse again."""
    return 1 - gains * min(force, 1.0) + 0.3 * max(0.0, force - 1.3)


def _shown(varied: Latents, concept: Latents) -> Latents:
    """Latents [..., WIDTH]: what varies, with so much of the concept [...] and all of the usual."""
    latents = varied.copy()
    latents[..., COMMON] += USUAL
    latents[..., CONCEPT] += concept
    return latents
