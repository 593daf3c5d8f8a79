"""How many images one pass over a dataset shows."""

from __future__ import annotations

from math import gcd

from lora_ci.core.changeset import kind_of
from lora_ci.core.settings import TrainSettings
from lora_ci.core.shard import Shard
from lora_ci.plan.facts import LoraFacts


def epoch_images(facts: LoraFacts, shard: Shard | None = None) -> int:
    """Images of all sources, or of a shard, each as often as its source repeats; at least 1.

    As many regularization images come to them, if there are any. What cannot be counted (a
    manifest that was not pushed) counts as nothing. Shards differ by an image, which nobody can
    tell before the captions are read: the larger ones are meant.
    """
    repeats = facts.repeats or (1,) * len(facts.sources)
    counts = (
        times * sum(kind_of(entry.path) == "image" for entry in source.entries or ())
        for source, times in zip(facts.sources, repeats, strict=True)
    )
    images = -(-sum(counts) // (shard.count if shard else 1))
    return max(1, images) * (2 if facts.regularization else 1)


def counted_repeats(train: TrainSettings, facts: LoraFacts) -> tuple[int, ...]:
    """How often each source counts, as the trainer is told.

    Of a budget in epochs the numbers count as they are written, for they make its length. Of any
    other only the shares: in the smallest numbers, so one source repeated is that source.
    """
    if train.epochs is not None:
        return facts.repeats
    shared = gcd(*facts.repeats)
    return tuple(number // shared for number in facts.repeats) if shared else facts.repeats
