"""What an adapter ought not to do: draw one thing only, leak, copy training pictures. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lora_ci.ruler.embedder import Features
from lora_ci.ruler.likeness import Scale, identity_by_prompt
from lora_ci.ruler.statistics import Interval, Share, mean_of

# How much nearer to a training picture than any reference is a copy.
COPY_MARGIN = 0.02


def variety(scale: Scale, adapter: Features, base: Features) -> Interval:
    """How different pictures of different prompts are, as a share of what is to be had.

    That is the variety of the base's pictures or of the references, whichever is less. A collapsed
    adapter has near 0, and can still look like all references a little.
    Features [prompts, seeds, d].
    """
    real = _unlike(scale.references[:, None])
    wanted = min(float(real.mean()), float(_unlike(base).mean()))
    return mean_of(_unlike(adapter) / max(wanted, 1e-6)).interval()


def _unlike(pictures: Features) -> NDArray[np.float64]:
    """1 less the mean cosine to the pictures of all other prompts with the same seed, [prompts]."""
    by_seed = pictures.astype(np.float64).transpose(1, 0, 2)
    cosines = by_seed @ by_seed.transpose(0, 2, 1)
    n = cosines.shape[1]
    others = (cosines.sum(axis=2) - np.diagonal(cosines, axis1=1, axis2=2)) / (n - 1)
    unlike: NDArray[np.float64] = 1 - others.mean(axis=0)
    return unlike


def leakage(scale: Scale, adapter: Features, base: Features) -> Interval:
    """Identity on prompts without the trigger: 0 where the adapter stays out of the way.

    Features [prompts, seeds, d].
    """
    return mean_of(identity_by_prompt(scale, adapter, base, same_prompts=False)).interval()


def memorization(adapter: Features, training: Features, references: Features) -> Interval:
    """Share of pictures nearer to a training picture than every reference is.

    Features: adapter [prompts, seeds, d], training [n, d], references [m, d].
    """
    pictures = adapter.reshape(-1, adapter.shape[-1])
    nearest = (pictures @ training.T).max(axis=1)
    limit = float((references @ training.T).max()) + COPY_MARGIN
    return Share(hits=int(np.count_nonzero(nearest > limit)), n=len(pictures)).interval()
