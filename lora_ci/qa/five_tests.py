"""The five tests, each a function of features and figures. Pure.

Shapes: p prompts, s seeds, d feature width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lora_ci.qa.scores import Anchors, Score, scored, unmeasured
from lora_ci.ruler.embedder import Features
from lora_ci.ruler.likeness import Scale, identity_by_prompt, likeness
from lora_ci.ruler.statistics import Interval, Share, mean_of

# Half of the way to the real thing is a useful adapter; all of it is the best there can be.
IDENTITY = Anchors(0.0, 0.5, 1.0)
# The product of two shares, each of which passes at about 0.6.
FLEXIBILITY = Anchors(0.0, 0.35, 1.0)
SOUND = Anchors(0.5, 0.85, 1.0)
# Spread of likeness over seeds, as a share of the identity scale or of the real pictures' spread.
SPREAD = Anchors(2.0, 1.0, 0.3)
LATENCY = Anchors(2.0, 1.25, 1.0)
SIZE = Anchors(1.0, 0.25, 0.05)


def identity_test(scale: Scale, adapter: Features, base: Features) -> tuple[Score, Interval]:
    """Does the adapter show what it was taught? Features [p, s, d]."""
    value = mean_of(identity_by_prompt(scale, adapter, base)).interval()
    why = f"{value.mean:.2f} of the way from the base to the references"
    return scored("identity", value, IDENTITY, why), value


def consistency_test(scale: Scale, adapter: Features) -> tuple[Score, Interval | None]:
    """Does it show it with every seed? Needs two seeds; features [p, s, d]."""
    if adapter.shape[1] < 2:
        return unmeasured("consistency", "needs at least 2 seeds"), None
    spreads = likeness(scale, adapter).std(axis=1, ddof=1)
    value = mean_of(spreads / max(float(scale.real.std(ddof=1)), abs(scale.span))).interval()
    why = f"likeness varies over seeds by {value.mean:.2f} of its scale"
    return scored("consistency", value, SPREAD, why), value


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """Flexibility's figures: features of pictures [p, s, d] and of the contexts [p, d]."""

    adapter: Features
    base: Features
    contexts: Features


def flexibility_test(scale: Scale, given: Following) -> tuple[Score, Interval | None]:
    """Can it be combined? Prompt following that is kept, times identity that is kept.

    Following is how much nearer pictures are to their own context than to the other prompts'
    contexts, as a share of what the base reaches on the very same prompts.
    """
    base = _preference(given.base, given.contexts)
    reached = mean_of(base).interval()
    if reached.low is None or reached.low <= 0:
        return unmeasured("flexibility", "the base itself does not follow these prompts"), None
    kept = np.clip(_preference(given.adapter, given.contexts) / reached.mean, 0, 1)
    identity = np.clip(
        identity_by_prompt(scale, given.adapter, given.base, same_prompts=False), 0, 1
    )
    value = mean_of(kept * identity).interval()
    why = (
        f"follows prompts {kept.mean():.2f} as well as the base, "
        f"with {identity.mean():.2f} of the identity"
    )
    return scored("flexibility", value, FLEXIBILITY, why), value


def _preference(pictures: Features, contexts: Features) -> NDArray[np.float64]:
    """Cosine to the own context less the mean cosine to the others, [p]."""
    cosines = (pictures.astype(np.float64) @ contexts.T.astype(np.float64)).mean(axis=1)
    own = np.diag(cosines)
    others = (cosines.sum(axis=1) - own) / max(len(contexts) - 1, 1)
    preference: NDArray[np.float64] = own - others
    return preference


def artifact_test(broken: Sequence[tuple[str, ...]]) -> tuple[Score, Interval]:
    """Are the pictures sound? One tuple of defects a picture."""
    sound = sum(not names for names in broken)
    value = Share(hits=sound, n=len(broken)).interval()
    why = f"{sound} of {len(broken)} pictures are sound"
    named = sorted({name for names in broken for name in names})
    if named:
        why += f"; outside the range of base and references: {', '.join(named)}"
    return scored("artifact", value, SOUND, why), value


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What an adapter costs: seconds to attach, time with it over time without, sizes."""

    attach_s: float
    latency_ratio: float
    size_bytes: int
    size_share: float


def performance_test(cost: Cost) -> Score:
    """Is it cheap to use? The worse of its speed and its size."""
    score = min(LATENCY.score(cost.latency_ratio), SIZE.score(cost.size_share))
    why = (
        f"{cost.latency_ratio:.2f}× the base's time a picture, {cost.size_bytes / 2**20:.1f} MiB "
        f"({cost.size_share:.1%} of the base), attached in {cost.attach_s:.2f} s"
    )
    return Score(name="performance", score=score, low=score, high=score, why=why)
