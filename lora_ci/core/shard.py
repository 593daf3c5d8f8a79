"""Shards: trainings of one LoRA, each on a part of its dataset, and the names they go by."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

# Such a name is a LoRA's in every way, but nobody may give it to one (`config/lora.py`).
NAME = re.compile(r"(?P<of>.+)\.shard-(?P<number>[1-9][0-9]*)-of-(?P<count>[1-9][0-9]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Part `number`, from 1, of `count` of the dataset of the LoRA `of`."""

    of: str
    number: int
    count: int

    @property
    def name(self) -> str:
        """What plans, records and reports call its training."""
        return f"{self.of}.shard-{self.number}-of-{self.count}"

    @property
    def words(self) -> str:
        """What it is beside its LoRA: `shard 1 of 3`."""
        return f"shard {self.number} of {self.count}"


def parse_shard(name: str) -> Shard | None:
    """The shard of that name; None for the name of a LoRA."""
    match = NAME.fullmatch(name)
    if match is None:
        return None
    return Shard(of=match["of"], number=int(match["number"]), count=int(match["count"]))


def is_among(name: str, loras: Collection[str]) -> bool:
    """True if some LoRAs and shards hold the one of this name, itself or with its LoRA."""
    return name in loras or owner_of(name) in loras


def owner_of(name: str) -> str:
    """The LoRA that a step is part of: that of the shard of this name, else the one itself."""
    shard = parse_shard(name)
    return shard.of if shard else name
