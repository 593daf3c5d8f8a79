"""Blind votes: a person chose between two pictures of one prompt and seed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from lora_ci.core.digest import sha256_json


class Choice(StrEnum):
    """Which picture is better: the judged adapter's, the other one, or neither."""

    NEW = "new"
    OTHER = "other"
    NONE = "none"


class Side(StrEnum):
    """Where on the page a picture stood."""

    LEFT = "left"
    RIGHT = "right"

    @property
    def opposite(self) -> Side:
        """The other side."""
        return Side.RIGHT if self is Side.LEFT else Side.LEFT


class Against(StrEnum):
    """What made the other picture."""

    RELEASED = "released"
    BASE = "base"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """What `voter` said of a `pair` of a judgement (its `fingerprint`); the last one counts.

    `side` is where the new picture stood. It follows from `seed`, so that anybody can check later
    that chance alone placed it.
    """

    fingerprint: str
    pair: str
    voter: str
    lora: str
    against: Against
    choice: Choice
    side: Side
    seed: int
    at: str = ""


def pair_id(prompt: str, seed: int | None) -> str:
    """The name of a pair: hex sha256 of its prompt and the seed of its noise."""
    return sha256_json([prompt, seed])


def side_of(seed: int, pair: str) -> Side:
    """Where the new picture of a pair stands: by a fair coin that `seed` throws."""
    return Side.LEFT if Random(f"{seed}:{pair}").random() < 0.5 else Side.RIGHT
