"""What chance decides is a function of (seed, step): what was drawn before is no part of it."""

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from lora_ci.core.buckets import Bucket
from lora_ci.training.draws import Draws, Pool, Turns, noise_of


def make_pools(sizes: list[tuple[int, int]]) -> tuple[Pool, ...]:
    """Pools with so many pictures of both kinds, numbered through."""
    pools, number = [], 0
    for width, (dataset, regularization) in enumerate(sizes, 1):
        split, end = number + dataset, number + dataset + regularization
        pools.append(
            Pool(
                bucket=Bucket(width=64 * width, height=64),
                dataset=tuple(range(number, split)),
                regularization=tuple(range(split, end)),
            )
        )
        number = end
    return tuple(pools)


def make_draws(sizes: list[tuple[int, int]], batch: int = 3, seed: int = 5) -> Draws:
    return Draws(seed=seed, batch=batch, dropout=0.3, pools=make_pools(sizes))


def seen(draws: Draws, step: int) -> tuple:
    draw = draws.draw(step)
    rows = draw.pictures, draw.crops, draw.mirrored, draw.dropped, draw.orders
    return *rows, torch.randn(3, generator=draw.source).tolist()


POOLS = st.lists(st.tuples(st.integers(1, 9), st.just(0)), min_size=1, max_size=6)
BATCHES = st.integers(1, 7)


@given(POOLS, BATCHES, st.integers(0, 2**32 - 1), st.lists(st.integers(0, 500), max_size=8))
@limits(max_examples=40)
def test_a_step_is_drawn_alike_whatever_was_drawn_before(sizes, batch, seed, steps):
    one, other = make_draws(sizes, batch, seed), make_draws(sizes, batch, seed)
    drawn = {step: seen(one, step) for step in range(0, 501, 50)}
    for step in [*steps, *reversed(drawn)]:
        assert seen(other, step) == (drawn.get(step) or seen(one, step))


@given(POOLS, BATCHES)
@limits(max_examples=40)
def test_a_batch_is_full_and_of_one_pool_and_an_epoch_has_every_picture_once(sizes, batch):
    draws = make_draws(sizes, batch)
    owner = {number: i for i, pool in enumerate(draws.pools) for number in pool.dataset}
    sequences: dict[int, list[int]] = {}
    # After so many steps every pool has gone through its pictures a whole number of times.
    for step in range(len(owner) * 2):
        pictures = draws.draw(step).pictures
        pools = {owner[number] for number in pictures}
        assert len(pictures) == batch
        assert len(pools) == 1
        sequences.setdefault(pools.pop(), []).extend(pictures)
    for index, pool in enumerate(draws.pools):
        mine, size = sequences[index], len(pool.dataset)
        assert len(mine) == 2 * batch * size
        for first in range(0, len(mine), size):
            assert sorted(mine[first : first + size]) == list(pool.dataset)


def test_a_picture_that_counts_thrice_is_seen_thrice_as_often():
    pool = Pool(bucket=Bucket(width=64, height=64), dataset=(0, 1, 1, 1))
    draws = Draws(seed=1, batch=2, dropout=0.0, pools=(pool,))
    counts = Counter(n for step in range(20) for n in draws.draw(step).pictures)
    assert counts == {0: 10, 1: 30}


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=4).filter(
        lambda sizes: (
            all(a + b for a, b in sizes) and any(a for a, _ in sizes) and any(b for _, b in sizes)
        )
    ),
    BATCHES,
)
@limits(max_examples=40)
def test_regularization_pictures_are_half_of_what_is_seen_each_as_often_as_the_others(sizes, batch):
    draws = make_draws(sizes, batch)
    dataset = [n for pool in draws.pools for n in pool.dataset]
    others = [n for pool in draws.pools for n in pool.regularization]
    steps = 2 * len(dataset) * len(others)
    counts = Counter(n for step in range(steps) for n in draws.draw(step).pictures)
    assert {counts[n] for n in dataset} == {len(others) * batch}
    assert {counts[n] for n in others} == {len(dataset) * batch}


def test_seeds_and_epochs_differ():
    draws = make_draws([(30, 0)], batch=30)
    orders = [draws.draw(step).pictures for step in range(4)]
    assert len(set(orders)) == 4
    assert make_draws([(30, 0)], batch=30, seed=6).draw(0).pictures != orders[0]


def test_chances_are_what_they_should_be():
    draws = make_draws([(3, 0)], batch=50)
    drawn = [draws.draw(step) for step in range(100)]
    dropped = [flag for draw in drawn for flag in draw.dropped]
    mirrored = [flag for draw in drawn for flag in draw.mirrored]
    assert sum(dropped) / 5000 == pytest.approx(0.3, abs=0.03)
    assert sum(mirrored) / 5000 == pytest.approx(0.5, abs=0.03)
    assert min(chance for draw in drawn for chance in (*draw.crops, *draw.orders)) >= 0
    assert max(chance for draw in drawn for chance in (*draw.crops, *draw.orders)) < 1


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8))
@limits(max_examples=40)
def test_turns_are_spread_evenly(weights):
    turns, total = Turns(weights=tuple(weights)), sum(weights)
    had = [0] * len(weights)
    for number in range(2 * total):
        who, earlier = turns.turn(number)
        assert earlier == had[who]
        had[who] += 1
        for weight, count in zip(weights, had, strict=True):
            assert abs(count - (number + 1) * weight / total) < len(weights)
    assert had == [2 * weight for weight in weights]


def test_offset_noise_shifts_whole_channels():
    def drawn(offset: float) -> torch.Tensor:
        return noise_of(torch.Generator().manual_seed(3), (2, 4, 8, 8), offset)

    shift = drawn(0.5) - drawn(0.0)
    assert torch.allclose(shift, shift[:, :, :1, :1].expand_as(shift), atol=1e-6)
    assert shift[:, :, 0, 0].unique().numel() == 8
