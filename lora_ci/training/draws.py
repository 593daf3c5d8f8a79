"""Every random choice of training, as a function of (seed, step) alone.

Nothing random is carried from step to step, so a resumed run draws what it would have drawn; a
longer training draws first what a shorter one does. Nor does a draw know how its batch is split
over GPUs or into parts.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import torch

from lora_ci.core.buckets import Bucket


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The pictures of one bucket, by number, each as often as it counts in an epoch."""

    bucket: Bucket
    dataset: tuple[int, ...]
    regularization: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draw:
    """The choices of one step, a row for a picture; `source` is for its times and noise.

    `crops` and `orders` in [0, 1) stand for one of what there is.
    """

    pictures: tuple[int, ...]
    crops: tuple[float, ...]
    mirrored: tuple[bool, ...]
    dropped: tuple[bool, ...]
    orders: tuple[float, ...]
    source: torch.Generator


@dataclass(slots=True, kw_only=True, eq=False)
class Turns:
    """Whose turn it is, when each of several has its weight: evenly spread, no chance in it.

    Smooth weighted round robin: everybody gains his weight at every turn; who then has most gets
    the turn and pays the sum of all weights. After that sum of turns (its weights in lowest terms)
    all begins anew.
    """

    weights: tuple[int, ...]
    _lags: list[int] = field(init=False)
    _turns: list[tuple[int, int]] = field(init=False, default_factory=list)
    _taken: list[int] = field(init=False)

    def __post_init__(self) -> None:
        shared = math.gcd(*self.weights)
        self.weights = tuple(weight // shared for weight in self.weights)
        self._lags = [0] * len(self.weights)
        self._taken = [0] * len(self.weights)

    def turn(self, number: int) -> tuple[int, int]:
        """Whose turn it is, and how many he had before."""
        rounds, place = divmod(number, sum(self.weights))
        while len(self._turns) <= place:
            self._next()
        who, earlier = self._turns[place]
        return who, rounds * self.weights[who] + earlier

    def _next(self) -> None:
        lags = [lag + weight for lag, weight in zip(self._lags, self.weights, strict=True)]
        who = lags.index(max(lags))
        lags[who] -= sum(self.weights)
        self._lags = lags
        self._turns.append((who, self._taken[who]))
        self._taken[who] += 1


@dataclass(slots=True, kw_only=True, eq=False)
class Draws:
    """The draws of a training: full batches, each out of one pool.

    Every picture of a dataset is seen as often as any other, as exactly as full batches allow: a
    pool has turns by its size, and goes through its pictures in ever new orders. Regularization
    pictures, if there are any, make up half of what is seen.
    """

    seed: int
    batch: int
    dropout: float
    pools: tuple[Pool, ...]
    _turns: Turns = field(init=False)
    _shares: tuple[tuple[int, int], ...] = field(init=False)

    def __post_init__(self) -> None:
        dataset = sum(len(pool.dataset) for pool in self.pools)
        regularization = sum(len(pool.regularization) for pool in self.pools)
        # Both kinds weigh alike: dataset · regularization.
        self._shares = tuple(
            (len(pool.dataset) * (regularization or 1), len(pool.regularization) * dataset)
            for pool in self.pools
        )
        self._turns = Turns(weights=tuple(sum(share) for share in self._shares))

    def draw(self, step: int) -> Draw:
        """The draw of a step."""
        pool, earlier = self._turns.turn(step)
        source = seeded(self.seed, "step", step)
        crops, mirrored, dropped, orders = torch.rand(4, self.batch, generator=source).tolist()
        first = earlier * self.batch
        return Draw(
            pictures=tuple(self._picture(pool, first + row) for row in range(self.batch)),
            crops=tuple(crops),
            mirrored=tuple(chance < 0.5 for chance in mirrored),
            dropped=tuple(chance < self.dropout for chance in dropped),
            orders=tuple(orders),
            source=source,
        )

    def _picture(self, number: int, position: int) -> int:
        """The picture at a position of a pool's endless sequence: both kinds, evenly mixed."""
        pool = self.pools[number]
        mine, others = self._shares[number]
        before = position * others // (mine + others)
        if (position + 1) * others // (mine + others) > before:
            return self._of_kind(f"{pool.bucket}/regularization", pool.regularization, before)
        return self._of_kind(str(pool.bucket), pool.dataset, position - before)

    def _of_kind(self, name: str, pictures: tuple[int, ...], position: int) -> int:
        epoch, index = divmod(position, len(pictures))
        return pictures[_order(self.seed, name, epoch, len(pictures))[index]]


@lru_cache(maxsize=256)
def _order(seed: int, name: str, epoch: int, count: int) -> tuple[int, ...]:
    """The order of an epoch; kept, since every step asks for it."""
    source = seeded(seed, f"order {name}", epoch)
    return tuple(torch.randperm(count, generator=source).tolist())


def noise_of(source: torch.Generator, shape: Sequence[int], offset: float) -> torch.Tensor:
    """Noise of the shape [b, c, h, w]; `offset` times noise of one value a channel is added.

    Source: offset noise, Guttenberg 2023, https://www.crosslabs.org/blog/diffusion-with-offset-noise
    """
    noise = torch.randn(*shape, generator=source)
    if offset:
        noise += offset * torch.randn(*shape[:2], 1, 1, generator=source)
    return noise


def seeded(*key: str | int) -> torch.Generator:
    """A source of chance of its own for a key."""
    digest = hashlib.sha256("/".join(str(part) for part in key).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
