"""How many images one pass over a dataset shows."""

from __future__ import annotations

from lora_ci.core.changeset import kind_of
from lora_ci.plan.facts import LoraFacts


def epoch_images(facts: LoraFacts) -> int:
    """Images of all sources, each as often as its source repeats; at least 1.

    As many regularization images come to them, if there are any. What cannot be counted (a
    manifest that was not pushed) counts as nothing.
    """
    repeats = facts.repeats or (1,) * len(facts.sources)
    counts = (
        times * sum(kind_of(entry.path) == "image" for entry in source.entries or ())
        for source, times in zip(facts.sources, repeats, strict=True)
    )
    return max(1, sum(counts)) * (2 if facts.regularization else 1)
