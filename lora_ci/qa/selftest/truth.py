"""What a metric would be with endless prompts, seeds and references.

Judges do not come into it: it follows from ten thousand latents of the world, in pairs of prompts
with pairs of seeds, and in closed form where there is one. Of the judge only its axis is taken:
identity is by definition a ratio on the axis that was found.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from lora_ci.qa.measures.artifact import ANCHORS as ARTIFACT
from lora_ci.qa.measures.consistency import ANCHORS as CONSISTENCY
from lora_ci.qa.measures.flexibility import ANCHORS as FLEXIBILITY
from lora_ci.qa.measures.identity import ANCHORS as IDENTITY
from lora_ci.qa.measures.performance import LATENCY, SIZE
from lora_ci.qa.selftest.paint import WIDTH, Latents, features
from lora_ci.qa.selftest.world import (
    COMPANION,
    EFFECT,
    Chances,
    Traits,
    World,
    adapter_latents,
    base_latents,
    broken_share,
    real_latents,
)
from lora_ci.ruler.embedder import Features
from lora_ci.ruler.likeness import Axis

GROUPS = 2500
# Kernels look at all pairs of so many and as many others.
COMPARED = 600
# Flexibility is clipped prompt by prompt, so each prompt needs many seeds.
NESTED = (500, 20)


def population(
    world: World, traits: Traits, axis: Axis, *, released: Traits | None, companion: bool
) -> Mapping[str, float]:
    """Metrics by name. Empty where single pictures go wrong: they have no simple mean."""
    if broken_share(traits, 1.0) or traits.copies or traits.unsafe:
        return {}
    source = np.random.default_rng([world.seed, 1])
    chances = draw_chances(source, (GROUPS, 2), 2)
    base = features(base_latents(world, chances))
    adapter = features(adapter_latents(world, traits, chances, triggered=True))
    bare = features(adapter_latents(world, traits, chances, triggered=False))
    real = features(real_latents(world, *source.normal(size=(2, GROUPS, 2, WIDTH))))
    start, end = axis.place(base).mean(), axis.place(real).mean()
    span = float(end - start)
    placed = axis.place(adapter)
    metrics = {
        "identity": float(placed.mean() - start) / span,
        "leakage": float(axis.place(bare).mean() - start) / span,
        "spread": _spread(placed) / max(float(axis.place(real).std()), abs(span)),
        "variety": _unlike(adapter) / min(_unlike(base), 1 - _cosine(real[:, 0], real[:, 1])),
        "base_look": _discrepancy(adapter, real) / _discrepancy(base, real),
        **_losses(world, traits, released),
        **_following(world, traits, axis, span, source),
    }
    if released:
        before = features(adapter_latents(world, released, chances, triggered=True))
        moved = float(placed.mean() - axis.place(before).mean())
        metrics["identity.against-released"] = moved / span
    if companion:
        metrics |= _composed(world, traits, axis, chances)
    return metrics | {"overall": _overall(metrics, traits)}


def draw_chances(source: np.random.Generator, prompts: tuple[int, ...], seeds: int) -> Chances:
    """So many prompts with so many seeds each. Those of the last axis of prompts share seeds."""
    shape = (*prompts, seeds)
    shared = (*prompts[:-1], 1, seeds, WIDTH) if len(prompts) > 1 else (*shape, WIDTH)

    def by_prompt(*width: int) -> Latents:
        return np.broadcast_to(source.normal(size=(*prompts, 1, *width)), (*shape, *width))

    return Chances(
        context=by_prompt(WIDTH),
        luck=np.broadcast_to(source.normal(size=shared), (*shape, WIDTH)),
        noise=source.normal(size=(*shape, WIDTH)),
        own=by_prompt(WIDTH),
        own_noise=source.normal(size=(*shape, WIDTH)),
        reach=by_prompt(),
        wobble=source.normal(size=shape),
    )


def _spread(placed: Latents) -> float:
    """Deviation over the seeds of a prompt, of places [groups, prompts, 2 seeds]."""
    return float(np.sqrt(np.square(placed[..., 0] - placed[..., 1]).mean() / 2))


def _unlike(pictures: Features) -> float:
    """1 less the cosine of two prompts with one seed, of features [groups, 2 prompts, s, d]."""
    return 1 - _cosine(pictures[:, 0], pictures[:, 1])


def _cosine(one: Features, other: Features) -> float:
    return float((one * other).sum(axis=-1).mean())


def _discrepancy(one: Features, other: Features) -> float:
    """The squared kernel distance by (x·y + 1)³ of pictures [groups, ..., d], one a group."""
    (mine, more), (real, further) = (
        p.reshape(len(p), -1, p.shape[-1])[: 2 * COMPARED, 0].reshape(2, COMPARED, -1)
        for p in (one, other)
    )

    def alike(some: Features, others: Features) -> float:
        return float(((some @ others.T + 1) ** 3).mean())

    return alike(mine, more) + alike(real, further) - alike(mine, real) - alike(more, further)


def _losses(world: World, traits: Traits, released: Traits | None) -> dict[str, float]:
    """Ratios of means of losses: a gain is a share of them all, and all adapters have noise."""
    left, noise = 1 - traits.gain, math.exp(world.loss_noise**2 / 2)
    found = {
        "loss.against-base": left * noise - 1,
        "loss.against-half": left / (1 - traits.gain / 2) - 1,
        "loss.gap": (traits.trained_gain - traits.gain) * noise,
    }
    if released:
        found["loss.against-released"] = left / (1 - released.gain) - 1
    return found


def _following(
    world: World, traits: Traits, axis: Axis, span: float, source: np.random.Generator
) -> dict[str, float]:
    prompts, seeds = NESTED
    chances = draw_chances(source, (prompts,), seeds)
    base = features(base_latents(world, chances)).mean(axis=1)
    adapter = features(adapter_latents(world, traits, chances, triggered=True)).mean(axis=1)
    texts = features(chances.context[:, 0])
    texts -= texts.mean(axis=0)
    reached = ((base - base.mean(axis=0)) * texts).sum(axis=1).mean()
    kept = ((adapter - adapter.mean(axis=0)) * texts).sum(axis=1) / reached
    shown = (axis.place(adapter) - axis.place(base)) / span
    return {
        "following": float(kept.mean()),
        "flexibility": float((np.clip(kept, 0, 1) * np.clip(shown, 0, 1)).mean()),
    }


def _composed(world: World, traits: Traits, axis: Axis, chances: Chances) -> dict[str, float]:
    other = np.zeros(WIDTH)
    other[COMPANION] = EFFECT
    plain = base_latents(world, chances)
    alone = adapter_latents(world, traits, chances, triggered=True)
    beside = adapter_latents(world, traits, chances, triggered=True, weight=traits.beside)
    base, both = features(plain), features(beside + traits.drown * other)
    moved, way = both - features(alone), features(plain + other) - base
    start = axis.place(base).mean()
    kept = (axis.place(both).mean() - start) / (axis.place(features(alone)).mean() - start)
    # Two seeds, so that what is by chance in one is not in the other.
    share = (moved[:, :, 0] * way[:, :, 1]).sum() / (way[:, :, 0] * way[:, :, 1]).sum()
    return {"composability": float(kept), "composability.other": float(share)}


def _overall(metrics: Mapping[str, float], traits: Traits) -> float:
    scores = (
        IDENTITY.score(metrics["identity"]),
        FLEXIBILITY.score(metrics["flexibility"]),
        ARTIFACT.score(1.0),
        CONSISTENCY.score(metrics["spread"]),
        min(LATENCY.score(traits.latency), SIZE.score(traits.size)),
    )
    return sum(scores) / len(scores)
