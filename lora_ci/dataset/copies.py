"""Captions that say the same of different pictures, found without comparing all with all.

Each caption is a set of words, and gets a signature whose parts agree with another's as often as
the sets overlap (MinHash). Captions that agree in all rows of one band are compared exactly, with
the first of each group alone: so groups are no chains, and work grows with the number of captions.
Source: Broder 1997, "On the resemblance and containment of documents"; bands as in Leskovec,
Rajaraman and Ullman, "Mining of Massive Datasets", 3.4.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

# Sets that overlap by 0.9 agree in some band with 99.98 %, by 0.8 with 95 %, by 0.3 with 0.1 %.
BANDS, ROWS = 16, 8
# Bounds memory: 1 KiB a word.
WORDS_AT_ONCE = 16_384
# What a band of flat captions holds that are alike but not enough; more are not compared.
MOST_IN_BAND = 8
# Of fewer words the same are no copy: `a cat` is all there is to say.
MIN_WORDS = 3


def find_copies(sets: Sequence[frozenset[str]], likeness: float) -> list[list[int]]:
    """Groups of indexes whose sets overlap with the first of the group by `likeness` or more.

    Overlap is Jaccard's: words in both of words in either. Sets of fewer than MIN_WORDS are in no
    group. The same sets in the same order give the same groups.
    """
    first_with: dict[frozenset[str], int] = {}
    groups: dict[int, list[int]] = {}
    equal: dict[int, list[int]] = {}
    for index, words in enumerate(sets):
        if len(words) >= MIN_WORDS:
            equal.setdefault(first_with.setdefault(words, index), []).append(index)
    different = list(equal)
    bands: dict[int, list[int]] = {}
    for index, keys in zip(different, _shared_bands([sets[i] for i in different]), strict=True):
        near = {leader for key in keys for leader in bands.get(key, ())}
        leader = next((i for i in sorted(near) if _overlap(sets[i], sets[index]) >= likeness), None)
        if leader is not None:
            groups[leader] += equal[index]
            continue
        groups[index] = list(equal[index])
        for key in keys:
            leaders = bands.setdefault(key, [])
            if len(leaders) < MOST_IN_BAND:
                leaders.append(index)
    return [sorted(members) for members in groups.values() if len(members) > 1]


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    both = len(one & other)
    return both / (len(one) + len(other) - both)


def _shared_bands(sets: Sequence[frozenset[str]]) -> Iterator[list[int]]:
    """Of each set a number for every band in which another set agrees with it; mostly none."""
    signatures = _signatures(sets)
    # One number for the rows of a band, and for the band: equal rows give equal numbers.
    mixing = np.random.default_rng(1).integers(1, 2**63, (BANDS, ROWS), np.uint64)
    numbers = np.empty((len(sets), BANDS), np.uint64)
    shared = np.empty(numbers.shape, bool)
    for band in range(BANDS):
        numbers[:, band] = (signatures[:, band] * mixing[band]).sum(axis=1)
        _, place, times = np.unique(numbers[:, band], return_inverse=True, return_counts=True)
        shared[:, band] = times[place] > 1
    for row, agreeing in zip(numbers, shared, strict=True):
        yield row[agreeing].tolist()


def _signatures(sets: Sequence[frozenset[str]]) -> NDArray[np.uint32]:
    """[n, BANDS, ROWS]: of each of many hash functions the least value over the words of a set."""
    # Multiply-shift, https://arxiv.org/abs/1504.06804: the upper half of a·h + b.
    random = np.random.default_rng(0)
    factors = random.integers(1, 2**63, BANDS * ROWS, np.uint64) * np.uint64(2) + np.uint64(1)
    offsets = random.integers(0, 2**63, BANDS * ROWS, np.uint64)
    signatures = np.empty((len(sets), BANDS * ROWS), np.uint32)
    for start, part in _parts(sets):
        words = _hashes(part)
        begins = np.cumsum([0, *(len(s) for s in part[:-1])])
        values = ((words[:, None] * factors + offsets) >> np.uint64(32)).astype(np.uint32)
        signatures[start : start + len(part)] = np.minimum.reduceat(values, begins)
    return signatures.reshape(len(sets), BANDS, ROWS)


def _parts(sets: Sequence[frozenset[str]]) -> Iterator[tuple[int, Sequence[frozenset[str]]]]:
    """Where each part begins, and its sets: about WORDS_AT_ONCE words."""
    start = words = 0
    for index, one in enumerate(sets):
        if words > WORDS_AT_ONCE:
            yield start, sets[start:index]
            start, words = index, 0
        words += len(one)
    if start < len(sets):
        yield start, sets[start:]


def _hashes(sets: Sequence[frozenset[str]]) -> NDArray[np.uint64]:
    """A number for every word of every set, the same in every process."""
    known: dict[str, bytes] = {}
    for words in sets:
        for word in words:
            if word not in known:
                known[word] = hashlib.blake2b(word.encode(), digest_size=8).digest()
    return np.frombuffer(b"".join(known[w] for words in sets for w in words), np.uint64)
