"""A training in shards: what each part is trained as, before the parts are merged."""

from __future__ import annotations

from dataclasses import replace

from lora_ci.config.model import Config, Lora
from lora_ci.core.settings import DEFAULT_IMAGES_SEEN, TrainSettings
from lora_ci.core.shard import Shard, parse_shard


def shards_of(lora: Lora) -> tuple[Lora, ...]:
    """The trainings that the adapter is merged from; none where it is trained in one."""
    count = lora.train.shards
    if count == 1:
        return ()
    parts = (Shard(of=lora.name, number=number, count=count) for number in range(1, count + 1))
    train = _part_of(lora.train, count)
    return tuple(_trained_as(lora, part, train) for part in parts)


def lora_of(config: Config, name: str) -> Lora:
    """The LoRA, or the shard of one, that a plan calls by this name."""
    shard = parse_shard(name)
    if shard is None:
        return config.loras[name]
    lora = config.loras[shard.of]
    return _trained_as(lora, shard, _part_of(lora.train, shard.count))


def _trained_as(lora: Lora, shard: Shard, train: TrainSettings) -> Lora:
    return replace(lora, name=shard.name, train=train, shard=shard, variant={}, variant_of=None)


def _part_of(train: TrainSettings, count: int) -> TrainSettings:
    """The settings with a budget such that all parts together see as many images as one would.

    Of a budget in epochs each part has its own: that many passes over fewer images.
    """
    if train.epochs is not None:
        return replace(train, shards=1)
    if train.steps is not None:
        return replace(train, shards=1, steps=-(-train.steps // count))
    images = train.images_seen or DEFAULT_IMAGES_SEEN
    return replace(train, shards=1, images_seen=-(-images // count))
