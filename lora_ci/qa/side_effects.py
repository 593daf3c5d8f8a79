"""What an adapter ought not to do: show without its trigger, copy training pictures. Pure."""

from __future__ import annotations

import numpy as np

from lora_ci.ruler.embedder import Features
from lora_ci.ruler.likeness import Scale, identity_by_prompt
from lora_ci.ruler.statistics import Interval, mean_interval, share_interval

# How much nearer to a training picture than any reference is a copy.
COPY_MARGIN = 0.02


def leakage(scale: Scale, adapter: Features, base: Features) -> Interval:
    """Identity on prompts without the trigger: 0 where the adapter stays out of the way.

    Features [prompts, seeds, d].
    """
    return mean_interval(identity_by_prompt(scale, adapter, base))


def memorization(adapter: Features, training: Features, references: Features) -> Interval:
    """Share of pictures nearer to a training picture than every reference is.

    Features: adapter [prompts, seeds, d], training [n, d], references [m, d].
    """
    pictures = adapter.reshape(-1, adapter.shape[-1])
    nearest = (pictures @ training.T).max(axis=1)
    limit = float((references @ training.T).max()) + COPY_MARGIN
    return share_interval(int(np.count_nonzero(nearest > limit)), len(pictures))
