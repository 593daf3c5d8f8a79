"""The best diverse part of a set of pictures, chosen so that every other is like one of it.

F(S) = Σᵢ max(0, maxⱼ cos(i, j)) + Σⱼ worth(j), j in S: how well S stands for all pictures (facility
location), and what its pictures are worth themselves. F grows with S by ever less, so that the
greedy choice reaches 1 − 1/e of the best (Nemhauser, Wolsey and Fisher, Math. Program. 14 (1978),
265-294), and a gain known from before bounds today's: few are computed again (Minoux 1978).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.float32]
# Likenesses held at once, 4 bytes each: those of 12,000 pictures to each other. Of more pictures
# a sample is stood for: all are still candidates.
MOST_LIKENESSES = 12_000**2
BLOCK = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A chosen picture by number: what F grew by, and for how many it stands, itself included."""

    index: int
    gain: float
    covers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Choices in the order they were made.

    For each picture the chosen one that is most like it `nearest` [n], and their `likeness` [n].
    `value` is F over all pictures, also where the choice looked at `stood_for` of them alone.
    """

    choices: tuple[Choice, ...]
    nearest: NDArray[np.int64]
    likeness: NDArray[np.float32]
    value: float
    stood_for: int

    @property
    def indexes(self) -> list[int]:
        """The chosen pictures by number."""
        return [choice.index for choice in self.choices]


def select(
    features: Features,
    worth: NDArray[np.float64],
    count: int,
    *,
    pinned: Sequence[int] = (),
    seed: int = 0,
) -> Selection:
    """Chooses `count` of n pictures by unit vectors [n, d] and what each is worth, [n], 0 or more.

    The `pinned` come first, whatever they add. Of equal gains the picture with the lower number is
    taken: sort them by content for a choice that no order of files changes. `seed` draws the sample
    of a set too large to be looked at whole.

    Raises ValueError for a count below the pinned or above n, or a negative worth.
    """
    n = len(features)
    if not max(1, len(set(pinned))) <= count <= n or (worth < 0).any():
        raise ValueError(f"{count} of {n} with {len(set(pinned))} pinned, or a worth below 0")
    sample = _sample(n, seed)
    # What one picture of the sample counts for.
    share = n / len(sample)
    likenesses = _likenesses(features, features[sample])
    best, grown, ones = (np.full(len(sample), value, np.float32) for value in (0, 0, 1))
    taken: list[tuple[int, float]] = []

    def gain_of(index: int) -> float:
        np.maximum(likenesses[index], best, out=grown)
        np.subtract(grown, best, out=grown)
        return share * float(grown @ ones) + float(worth[index])

    def take(index: int, gain: float) -> None:
        taken.append((index, gain))
        np.maximum(likenesses[index], best, out=best)

    for index in dict.fromkeys(pinned):
        take(index, gain_of(index))
    chosen = {index for index, _ in taken}
    waiting = [(-gain_of(index), index) for index in range(n) if index not in chosen]
    heapq.heapify(waiting)
    while len(taken) < count:
        index = waiting[0][1]
        now = -gain_of(index), index
        heapq.heapreplace(waiting, now)
        # At the top again with its gain of now: no other has more.
        if waiting[0] == now:
            heapq.heappop(waiting)
            take(index, -now[0])
    return _selection(features, worth, taken, len(sample))


def value_of(features: Features, worth: NDArray[np.float64], chosen: Iterable[int]) -> float:
    """F of a set of pictures by number, looked at whole."""
    indexes = sorted(set(chosen))
    if not indexes:
        return 0.0
    likeness, _ = _nearest(features, features[indexes])
    return _value(likeness, worth[indexes])


def keep_best(order: Sequence[int], pairs: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Which of look-alikes go, and for which that is kept; `order` is of all, the best first.

    A picture goes if it looks like one that is kept: what is left has no two look-alikes, and the
    two ends of a long burst may both stay.
    """
    like: dict[int, list[int]] = {}
    for first, second in pairs:
        like.setdefault(first, []).append(second)
        like.setdefault(second, []).append(first)
    rank = {index: at for at, index in enumerate(order)}
    gone: dict[int, int] = {}
    for index in order:
        better = [j for j in like.get(index, ()) if rank[j] < rank[index] and j not in gone]
        if better:
            gone[index] = min(better, key=rank.__getitem__)
    return gone


def clusters(n: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """For each of n pictures the lowest number that a chain of look-alikes joins it to."""
    root = list(range(n))

    def find(index: int) -> int:
        while root[index] != index:
            root[index] = root[root[index]]
            index = root[index]
        return index

    for first, second in pairs:
        low, high = sorted((find(first), find(second)))
        root[high] = low
    return [find(index) for index in range(n)]


def _sample(n: int, seed: int) -> NDArray[np.int64]:
    """The pictures that must be stood for, by number: all, as far as memory allows."""
    most = max(1, MOST_LIKENESSES // n)
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False))


def _likenesses(features: Features, others: Features) -> NDArray[np.float32]:
    """Cosines, [n, m]."""
    found = np.empty((len(features), len(others)), np.float32)
    for start in range(0, len(features), BLOCK):
        np.matmul(features[start : start + BLOCK], others.T, out=found[start : start + BLOCK])
    return found


def _nearest(features: Features, chosen: Features) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The largest cosine of each picture to the chosen, and which has it, [n] each."""
    likeness = np.empty(len(features), np.float32)
    place = np.empty(len(features), np.int64)
    for start in range(0, len(features), BLOCK):
        cosines = features[start : start + BLOCK] @ chosen.T
        place[start : start + BLOCK] = cosines.argmax(axis=1)
        likeness[start : start + BLOCK] = cosines.max(axis=1)
    return likeness, place


def _selection(
    features: Features,
    worth: NDArray[np.float64],
    taken: Sequence[tuple[int, float]],
    stood_for: int,
) -> Selection:
    indexes = np.array([index for index, _ in taken])
    likeness, place = _nearest(features, features[indexes])
    # A chosen picture stands for itself, whatever rounding makes of a copy beside it.
    place[indexes] = np.arange(len(indexes))
    covers = np.bincount(place, minlength=len(indexes))
    return Selection(
        choices=tuple(
            Choice(index=index, gain=gain, covers=int(count))
            for (index, gain), count in zip(taken, covers, strict=True)
        ),
        nearest=indexes[place],
        likeness=likeness,
        value=_value(likeness, worth[indexes]),
        stood_for=stood_for,
    )


def _value(likeness: NDArray[np.float32], worth: NDArray[np.float64]) -> float:
    return float(np.maximum(likeness, 0).sum(dtype=np.float64)) + float(worth.sum())
