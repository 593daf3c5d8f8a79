"""The configurations of a matrix → the trainings that they come to, and which rules save others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lora_ci.config.model import Config, Lora
from lora_ci.core.digest import sha256_json
from lora_ci.core.plan import Saving, Sharing, Variant
from lora_ci.core.settings import TrainSettings
from lora_ci.core.shard import owner_of
from lora_ci.plan.facts import LoraFacts
from lora_ci.plan.fingerprints import prefix_of, train_fingerprint, train_parts
from lora_ci.plan.shards import shards_of
from lora_ci.plan.training_rules import CONTINUES, RULES, canonical, why_never_continued

ALIKE = "configurations that differ in nothing a training sees"


def variants_of(config: Config) -> tuple[Variant, ...]:
    """The LoRAs that matrices made, in the order of the config."""
    return tuple(
        Variant(lora=lora.name, of=lora.variant_of, values=lora.variant)
        for lora in config.loras.values()
        if lora.variant_of is not None
    )


def sharing_of(config: Config, facts: Mapping[str, LoraFacts]) -> tuple[Sharing, ...]:
    """What each matrix of several configurations comes to."""
    groups: dict[str, list[Lora]] = defaultdict(list)
    for lora in config.loras.values():
        if lora.variant_of is not None:
            groups[lora.variant_of].append(lora)
    several = {of: loras for of, loras in groups.items() if len(loras) > 1}
    return tuple(_sharing(of, loras, facts) for of, loras in several.items())


def _sharing(of: str, loras: Sequence[Lora], facts: Mapping[str, LoraFacts]) -> Sharing:
    """Rule by rule, in the order in which they are applied: each saves what those before left.

    A configuration in shards is as many trainings.
    """
    configurations = len(loras)
    loras = [part for lora in loras for part in shards_of(lora) or (lora,)]
    saved: list[Saving] = []
    left = len(loras)

    def count(now: set[str], rule: str) -> None:
        nonlocal left
        if len(now) < left:
            saved.append(Saving(rule=rule, trainings=left - len(now)))
        left = len(now)

    settings = [lora.train for lora in loras]
    count(_distinct(loras, facts, settings), ALIKE)
    for rule in RULES:
        settings = [rule.applied(train) for train in settings]
        count(_distinct(loras, facts, settings), rule.words)
    count(
        {
            prefix_of(lora, its) or train_fingerprint(lora, its).value
            for lora in loras
            for its in [facts[owner_of(lora.name)]]
        },
        CONTINUES,
    )
    return Sharing(
        of=of,
        configurations=configurations,
        trainings=left,
        saved=tuple(saved),
        apart=_apart(loras, facts),
    )


def _distinct(
    loras: Sequence[Lora], facts: Mapping[str, LoraFacts], settings: Sequence[TrainSettings]
) -> set[str]:
    """What trainings with the settings depend on, each once."""
    pairs = zip(loras, settings, strict=True)
    return {
        sha256_json(train_parts(lora, facts[owner_of(lora.name)], train)) for lora, train in pairs
    }


def _apart(loras: Sequence[Lora], facts: Mapping[str, LoraFacts]) -> str | None:
    """Why trainings that differ in their budgets alone are all done from the start."""
    budgets: dict[str, set[str]] = defaultdict(set)
    reasons: dict[str, str] = {}
    for lora in loras:
        train, its = canonical(lora.train), facts[owner_of(lora.name)]
        unbounded = replace(train, images_seen=None, epochs=None, steps=None)
        alike = sha256_json(train_parts(lora, its, unbounded))
        budgets[alike].add(sha256_json(train_parts(lora, its, train)))
        if why := why_never_continued(train):
            reasons[alike] = why
    told = dict.fromkeys(reasons[key] for key in reasons if len(budgets[key]) > 1)
    return "; ".join(told) or None
