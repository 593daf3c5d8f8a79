"""Pictures that are the same, or nearly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lora_ci.dataset.measured import Measured

# Mean difference of 16 × 16 thumbnails, of 255 levels, up to which a candidate is a near-duplicate.
# Flat art on white hashes alike; its colors tell it apart.
MAX_THUMBNAIL_DIFFERENCE = 12.0
# Or they correlate so well: the picture made brighter or gray. Different photographs reach 0.95
# only where their hashes are far apart.
MIN_CORRELATION = 0.95
GRAY_CHROMA = 3.0
LUMA = np.array([0.299, 0.587, 0.114])
BLOCK = 512
# Up to so many comparisons each is made with each.
MAX_EACH_WITH_EACH = 1_000**2
# Else those are compared that agree in 18 bits, picked at random, of any of so many tables. Two
# hashes that differ in 40 bits of 256 agree in none of them once in 200,000 pairs, in 44 bits once
# in 6,000. Beyond that tables would not help.
TABLES, KEY_BITS, MAX_DISTANCE_BY_TABLES = 256, 18, 44
MAX_CANDIDATES_AT_ONCE = 2_000_000
SEED = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two indexes, the Hamming distance of the hashes, and whether the pixels are equal."""

    first: int
    second: int
    distance: int
    exact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The index of the picture to keep, and those that are like it, each with its pair."""

    kept: int
    others: tuple[tuple[int, Pair], ...]


def find_pairs(
    left: Sequence[Measured], right: Sequence[Measured], max_distance: int
) -> list[Pair]:
    """Look-alikes of `left` in `right`; within one sequence (`left is right`) each pair once.

    Pictures must have been decoded. Of equal ones within a sequence the first stands for all.
    """
    near: Iterator[tuple[int, int, int]]
    pairs: list[Pair] = []
    if left is right:
        firsts: dict[str, int] = {}
        for index, one in enumerate(left):
            firsts.setdefault(one.pixels, index)
        own = list(firsts.values())
        pairs = [
            Pair(first=firsts[one.pixels], second=index, distance=0, exact=True)
            for index, one in enumerate(left)
            if firsts[one.pixels] != index
        ]
        found = _candidates(_hashes([left[i] for i in own]), None, max_distance)
        near = ((own[i], own[j], distance) for i, j, distance in found)
    else:
        near = _candidates(_hashes(left), _hashes(right), max_distance)
    for first, second, distance in near:
        exact = left[first].pixels == right[second].pixels
        if exact or _look_alike(left[first], right[second]):
            pairs.append(Pair(first=first, second=second, distance=distance, exact=exact))
    return sorted(pairs, key=lambda pair: (pair.first, pair.second))


def groups_of(pairs: Sequence[Pair], measured: Sequence[Measured]) -> list[Group]:
    """Each picture in one group at most, with the best of it: the largest, then the sharpest.

    All others of a group are like the one that is kept; likeness does not go on from one to the
    next, as that would join a whole film.
    """
    beside: dict[int, dict[int, Pair]] = {}
    for pair in pairs:
        beside.setdefault(pair.first, {})[pair.second] = pair
        beside.setdefault(pair.second, {})[pair.first] = pair

    def worse(index: int) -> tuple[float, float, int]:
        one = measured[index]
        return -one.width * one.height, -one.blur, index

    groups, taken = [], set[int]()
    for index in sorted(beside, key=worse):
        if index in taken:
            continue
        others = [(i, pair) for i, pair in sorted(beside[index].items()) if i not in taken]
        taken |= {index, *(i for i, _ in others)}
        if others:
            groups.append(Group(kept=index, others=tuple(others)))
    return groups


def _hashes(measured: Sequence[Measured]) -> NDArray[np.uint64]:
    """uint64 [n, variants, 4]."""
    stacked = [m.hashes for m in measured if m.hashes is not None]
    if not stacked:
        return np.zeros((0, 1, 4), np.uint64)
    return np.stack(stacked).view(np.uint64)


def _candidates(
    left: NDArray[np.uint64], right: NDArray[np.uint64] | None, max_distance: int
) -> Iterator[tuple[int, int, int]]:
    """(i, j, distance) of all pairs that are near enough; within `left` if `right` is None: i < j.

    The distance is the least of the plain hash of one to every variant of the other.
    """
    other = left if right is None else right
    few = len(left) * len(other) <= MAX_EACH_WITH_EACH
    if few or max_distance > MAX_DISTANCE_BY_TABLES:
        yield from _each_with_each(left, other, max_distance, within=right is None)
        return
    found = _by_tables(left, other, max_distance)
    if right is not None:
        turned = _by_tables(other, left, max_distance)
        found += [((j, i), distance) for (i, j), distance in turned]
    nearest: dict[tuple[int, int], int] = {}
    for (i, j), distance in found:
        if right is None and i == j:
            continue
        key = (min(i, j), max(i, j)) if right is None else (i, j)
        nearest[key] = min(distance, nearest.get(key, distance))
    yield from ((i, j, distance) for (i, j), distance in nearest.items())


def _each_with_each(
    left: NDArray[np.uint64], right: NDArray[np.uint64], max_distance: int, *, within: bool
) -> Iterator[tuple[int, int, int]]:
    for start in range(0, len(left), BLOCK):
        block = left[start : start + BLOCK]
        first = start if within else 0
        others = right[first:]
        # The plain hash of each against every variant of the other, both ways: [block, m].
        nearest = np.minimum(_nearest(block, others), _nearest(others, block).T)
        for i, j in zip(*np.nonzero(nearest <= max_distance), strict=True):
            if not within or int(i) < int(j):
                yield start + int(i), first + int(j), int(nearest[i, j])


def _nearest(plain: NDArray[np.uint64], variants: NDArray[np.uint64]) -> NDArray[np.int32]:
    """Least Hamming distance of the first hash of each to all hashes of the others, [n, m]."""
    nearest = np.full((len(plain), len(variants)), 256, np.int32)
    for variant in range(variants.shape[1]):
        differing = np.bitwise_count(plain[:, None, 0] ^ variants[None, :, variant])
        np.minimum(nearest, differing.sum(-1, dtype=np.int32), out=nearest)
    return nearest


def _by_tables(
    left: NDArray[np.uint64], right: NDArray[np.uint64], max_distance: int
) -> list[tuple[tuple[int, int], int]]:
    """((i, j), distance) of plain hashes of `left` near any variant of `right`."""
    variants = right.shape[1]
    plain = np.ascontiguousarray(left[:, 0])
    every = np.ascontiguousarray(right.reshape(-1, right.shape[2]))
    plain_bytes = np.ascontiguousarray(plain.view(np.uint8).T)
    every_bytes = np.ascontiguousarray(every.view(np.uint8).T)
    found: dict[tuple[int, int], int] = {}
    rng = np.random.default_rng(SEED)
    for _ in range(TABLES):
        bits = rng.choice(plain_bytes.shape[0] * 8, KEY_BITS, replace=False)
        keys, sorted_by = _keys(plain_bytes, bits), _keys(every_bytes, bits)
        order = _sorted(sorted_by)
        ends = np.cumsum(np.bincount(sorted_by, minlength=1 << KEY_BITS))
        counts = np.diff(ends, prepend=0)[keys]
        for start, stop in _portions(counts):
            some = counts[start:stop]
            first = np.repeat(np.arange(start, stop), some)
            within = np.arange(len(first)) - np.repeat(np.cumsum(some) - some, some)
            second = order[np.repeat(ends[keys[start:stop]] - some, some) + within]
            differing = np.bitwise_count(plain[first] ^ every[second]).sum(-1, dtype=np.int32)
            for k in np.flatnonzero(differing <= max_distance):
                pair = int(first[k]), int(second[k]) // variants
                if pair[0] != pair[1] or left is not right:
                    found[pair] = min(int(differing[k]), found.get(pair, 256))
    return list(found.items())


def _sorted(keys: NDArray[np.uint32]) -> NDArray[np.int64]:
    """The order of the keys, by the lower half first: numpy has a radix sort for 16 bits alone."""
    order = np.argsort(keys.astype(np.uint16), kind="stable")
    upper = (keys >> 16).astype(np.uint8)
    result: NDArray[np.int64] = order[np.argsort(upper[order], kind="stable")]
    return result


def _keys(columns: NDArray[np.uint8], bits: NDArray[np.int64]) -> NDArray[np.uint32]:
    """The chosen bits of each hash as one number; `columns` are its bytes, [32, n]."""
    keys = np.zeros(columns.shape[1], np.uint32)
    for bit in bits:
        keys = (keys << 1) | ((columns[bit // 8] >> np.uint8(bit % 8)) & 1)
    return keys


def _portions(counts: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Ranges of hashes that have about MAX_CANDIDATES_AT_ONCE candidates together."""
    sums = np.cumsum(counts)
    start = 0
    while start < len(counts):
        before = sums[start - 1] if start else 0
        stop = int(np.searchsorted(sums, before + MAX_CANDIDATES_AT_ONCE, side="right"))
        stop = max(stop, start + 1)
        yield start, stop
        start = stop


def _look_alike(one: Measured, other: Measured) -> bool:
    if one.thumbnails is None or other.thumbnails is None:
        return False
    gray = _is_gray(one.thumbnails[0]) or _is_gray(other.thumbnails[0])
    for plain, views in (
        (one.thumbnails[0], other.thumbnails),
        (other.thumbnails[0], one.thumbnails),
    ):
        both = np.concatenate([views, views[:, :, ::-1]]).astype(np.float64)
        if np.abs(both - plain).mean(axis=(1, 2, 3)).min() <= MAX_THUMBNAIL_DIFFERENCE:
            return True
        if (_centered(both, gray) @ _centered(plain[None], gray)[0]).max() >= MIN_CORRELATION:
            return True
    return False


def _is_gray(thumbnail: NDArray[np.uint8]) -> bool:
    spread = thumbnail.max(axis=2).astype(np.int16) - thumbnail.min(axis=2)
    return bool(spread.mean() < GRAY_CHROMA)


def _centered(views: NDArray[np.float64] | NDArray[np.uint8], gray: bool) -> NDArray[np.float64]:
    """[n, values], each of mean 0 and length 1; of gray pictures only how bright they are."""
    values = (views @ LUMA if gray else views).reshape(len(views), -1).astype(np.float64)
    values = values - values.mean(axis=1, keepdims=True)
    result: NDArray[np.float64] = values / (np.linalg.norm(values, axis=1, keepdims=True) + 1e-6)
    return result
