"""The choice is monotone, near the best there is, and no order of pictures changes it."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_ci.dataset import select as module
from lora_ci.dataset.select import clusters, keep_best, select, value_of

GREEDY_BOUND = 1 - 1 / np.e
SEEDS = st.integers(0, 2**32 - 1)


def made(seed: int, n: int, d: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors in a few heaps, and what each picture is worth."""
    rng = np.random.default_rng(seed)
    heaps = rng.normal(size=(max(1, n // 3), d))
    vectors = heaps[rng.integers(0, len(heaps), n)] + 0.5 * rng.normal(size=(n, d))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit.astype(np.float32), rng.random(n) * 0.3


def plain_greedy(features: np.ndarray, worth: np.ndarray, count: int) -> list[int]:
    """Every gain anew for every choice."""
    likeness = (features @ features.T).astype(np.float64)
    best, chosen = np.zeros(len(features)), []
    for _ in range(count):
        gains = np.maximum(likeness - best, 0).sum(axis=1) + worth
        gains[chosen] = -1
        chosen.append(int(gains.argmax()))
        best = np.maximum(best, likeness[chosen[-1]])
    return chosen


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(2, 9), st.data())
def test_the_value_is_near_the_best_of_all_sets(seed, n, data):
    count = data.draw(st.integers(1, n))
    features, worth = made(seed, n)
    best = max(value_of(features, worth, some) for some in combinations(range(n), count))
    found = select(features, worth, count)
    assert found.value == pytest.approx(value_of(features, worth, found.indexes), rel=1e-4)
    assert GREEDY_BOUND * best - 1e-4 <= found.value <= best + 1e-4


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(3, 60))
def test_each_choice_adds_and_never_more_than_the_one_before(seed, n):
    features, worth = made(seed, n)
    found = select(features, worth, n)
    gains = [choice.gain for choice in found.choices]
    assert sorted(found.indexes) == list(range(n))
    assert all(gain >= 0 for gain in gains)
    assert all(b <= a + 1e-4 for a, b in pairwise(gains))
    fewer = select(features, worth, n // 2 + 1)
    assert fewer.indexes == found.indexes[: n // 2 + 1]


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(4, 80))
def test_it_is_what_plain_greedy_chooses_in_any_order(seed, n):
    features, worth = made(seed, n)
    count = max(1, n // 4)
    whole = value_of(features, worth, plain_greedy(features, worth, count))
    order = np.random.default_rng(seed).permutation(n)
    for some, own in ((features, worth), (features[order], worth[order])):
        assert select(some, own, count).value == pytest.approx(whole, rel=1e-4)
    shuffled = {int(order[i]) for i in select(features[order], worth[order], count).indexes}
    assert shuffled == set(select(features, worth, count).indexes)


def test_of_equal_pictures_the_first_is_taken_and_stands_for_all():
    features = np.repeat(np.eye(3, dtype=np.float32), [4, 2, 3], axis=0)
    found = select(features, np.zeros(9), 3)
    assert [(c.index, c.covers) for c in found.choices] == [(0, 4), (6, 3), (4, 2)]
    assert found.nearest.tolist() == [0, 0, 0, 0, 4, 4, 6, 6, 6]
    assert found.likeness.tolist() == [1.0] * 9


def test_worth_decides_between_look_alikes():
    features = np.repeat(np.eye(2, dtype=np.float32), 3, axis=0)
    worth = np.array([0.0, 0.2, 0.1, 0.1, 0.0, 0.3])
    assert set(select(features, worth, 2).indexes) == {1, 5}


def test_the_pinned_come_first_and_others_around_them():
    features, worth = made(3, 30)
    pinned = [17, 4]
    found = select(features, worth, 6, pinned=pinned)
    assert found.indexes[:2] == pinned
    assert len(set(found.indexes)) == 6


@pytest.mark.parametrize(("count", "pinned"), [(0, []), (11, []), (1, [2, 3])])
def test_a_count_that_cannot_be_is_refused(count, pinned):
    features, worth = made(0, 10)
    with pytest.raises(ValueError, match="pinned"):
        select(features, worth, count, pinned=pinned)


def test_a_sample_stands_for_a_set_too_large_to_be_looked_at_whole(monkeypatch):
    features, worth = made(5, 600, d=16)
    whole = select(features, worth, 30)
    monkeypatch.setattr(module, "MOST_LIKENESSES", 600 * 200)
    found = select(features, worth, 30, seed=1)
    assert (whole.stood_for, found.stood_for) == (600, 200)
    assert found.indexes == select(features, worth, 30, seed=1).indexes
    assert value_of(features, worth, found.indexes) >= 0.95 * whole.value
    assert sum(choice.covers for choice in found.choices) == 600


def test_of_look_alikes_the_best_is_kept_and_the_ends_of_a_burst_stay():
    burst = [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert keep_best([0, 1, 2, 3, 4], burst) == {1: 0, 3: 2}
    assert keep_best([2, 0, 1, 3, 4], burst) == {1: 2, 3: 2}
    assert keep_best([1, 0], []) == {}


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_no_two_look_alikes_are_left_and_each_that_went_has_a_better_one(data):
    n = data.draw(st.integers(1, 12))
    numbers = st.integers(0, n - 1)
    pairs = data.draw(st.lists(st.tuples(numbers, numbers).filter(lambda p: p[0] != p[1])))
    order = data.draw(st.permutations(range(n)))
    gone = keep_best(order, pairs)
    assert not any(a not in gone and b not in gone for a, b in pairs)
    for index, kept in gone.items():
        assert kept not in gone
        assert order.index(kept) < order.index(index)
        assert (index, kept) in pairs or (kept, index) in pairs


def test_a_chain_of_look_alikes_is_one_cluster():
    assert clusters(6, [(4, 5), (0, 2), (2, 5)]) == [0, 1, 0, 3, 0, 0]
