"""Intervals hold what they promise; what cannot be known is not made up."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.ruler.statistics import (
    Exact,
    Interval,
    Mean,
    Positive,
    Share,
    bound,
    divided,
    mean_of,
    separation,
    share_of,
    sum_of_errors,
)

NUMBERS = st.floats(-1e6, 1e6)
MEANS = st.lists(NUMBERS, min_size=2, max_size=12).map(mean_of)
SHARES = st.integers(1, 60).flatmap(
    lambda n: st.integers(0, n).map(lambda hits: Share(hits=hits, n=n))
)
ESTIMATES = st.one_of(MEANS, SHARES, NUMBERS.map(lambda x: Exact(value=x)))
CONFIDENCES = st.floats(0.01, 0.999999)


@pytest.mark.parametrize("n", [2, 4, 8, 24])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_a_mean_lies_in_its_interval_as_often_as_told(n, confidence):
    source = np.random.default_rng(n)
    intervals = [mean_of(source.normal(2.0, 3.0, n)).interval(confidence) for _ in range(4000)]
    held = np.mean([i.low <= 2.0 <= i.high for i in intervals])
    allowed = 4 * math.sqrt(confidence * (1 - confidence) / 4000)
    assert held == pytest.approx(confidence, abs=allowed)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_share_lies_in_its_interval(share):
    source = np.random.default_rng(0)
    intervals = [Share(hits=int(k), n=30).interval() for k in source.binomial(30, share, 4000)]
    assert 0.92 <= np.mean([i.low <= share <= i.high for i in intervals]) <= 0.985


def test_all_of_few_is_not_certainty():
    """Values of Wilson's formula for 10 of 10: 1 / (1 + z²/10) and its mirror."""
    assert Share(hits=10, n=10).interval().low == pytest.approx(0.72247, abs=1e-5)
    assert Share(hits=0, n=10).interval().high == pytest.approx(0.27753, abs=1e-5)
    assert Share(hits=10, n=10).interval().high == 1
    assert Share(hits=0, n=10).interval().low == 0


@pytest.mark.parametrize("alike", [0.01, 0.2, 0.6])
def test_a_share_of_pictures_of_few_prompts_lies_in_its_interval(alike):
    """Each prompt has a share of its own, from a beta distribution around 0.7."""
    source, held = np.random.default_rng(2), []
    for _ in range(1500):
        prompts = source.beta(0.7 * (1 - alike) / alike, 0.3 * (1 - alike) / alike, 20)
        interval = share_of(source.random((20, 4)) < prompts[:, None]).interval()
        held.append(interval.low <= 0.7 <= interval.high)
    assert 0.92 <= np.mean(held) <= 0.98


def test_seeds_that_always_agree_count_once():
    """Four seeds that agree tell as much as one."""
    found = np.array([[True] * 4] * 7 + [[False] * 4])
    assert share_of(found).alike == 4
    assert share_of(found).n == 32
    assert share_of(found).interval().low == Share(hits=7, n=8).interval().low
    mixed = np.array([[True, False]] * 8)
    assert share_of(mixed).alike == 1
    assert share_of(found[:7]) == Share(hits=28, n=28)


def test_one_value_has_no_interval():
    assert mean_of([0.4]).interval() == Interval(mean=0.4, low=None, high=None, n=1)
    assert bound(mean_of([0.4]), "low", 0.05) is None


def test_a_known_error_gives_a_normal_interval():
    """1.96 deviations: NIST/SEMATECH e-Handbook, section 1.3.6.7.1."""
    interval = Mean(mean=1.0, error=0.5, degrees=math.inf, n=3).interval()
    assert interval.high == pytest.approx(1 + 0.5 * 1.959964, rel=1e-6)


@given(ESTIMATES, CONFIDENCES, CONFIDENCES)
def test_intervals_hold_the_mean_and_widen_with_confidence(estimate, one, other):
    narrow, wide = (estimate.interval(confidence) for confidence in sorted((one, other)))
    slack = 1e-9 * (1 + abs(estimate.mean))
    assert wide.low - slack <= narrow.low <= narrow.mean + slack
    assert narrow.mean - slack <= narrow.high <= wide.high + slack


@given(SHARES, CONFIDENCES)
def test_shares_stay_between_0_and_1(share, confidence):
    interval = share.interval(confidence)
    assert 0 <= interval.low <= share.mean <= interval.high <= 1


@given(ESTIMATES, st.floats(-10, 10), st.floats(-10, 10))
def test_a_scaled_estimate_has_the_scaled_interval(estimate, factor, shift):
    direct, scaled = estimate.interval(), estimate.scaled(factor, shift).interval()
    wanted = sorted(factor * end + shift for end in (direct.low, direct.high))
    slack = 1e-6 * (1 + max(abs(direct.low), abs(direct.high)))
    assert scaled.mean == pytest.approx(factor * direct.mean + shift, abs=slack)
    assert [scaled.low, scaled.high] == pytest.approx(wanted, abs=slack)
    assert scaled.n == direct.n


@given(ESTIMATES, st.floats(1e-6, 0.49))
def test_a_bound_is_an_end_of_a_wider_miss(estimate, error):
    interval = estimate.interval(1 - 2 * error)
    assert (bound(estimate, "low", error), bound(estimate, "high", error)) == (
        interval.low,
        interval.high,
    )


def test_a_bound_is_wrong_as_often_as_told():
    source = np.random.default_rng(5)
    lows = [bound(mean_of(source.normal(0.0, 1.0, 6)), "low", 0.05) for _ in range(4000)]
    assert np.mean([low > 0 for low in lows]) == pytest.approx(0.05, abs=0.014)


@pytest.mark.parametrize(
    "make",
    [
        lambda: mean_of([]),
        lambda: mean_of([1.0, math.nan]),
        lambda: mean_of([1.0, math.inf]),
        lambda: Mean(mean=math.nan, error=1.0, degrees=1, n=2),
        lambda: Mean(mean=0.0, error=-1.0, degrees=1, n=2),
        lambda: Mean(mean=0.0, error=1.0, degrees=math.nan, n=2),
        lambda: Mean(mean=0.0, error=1.0, degrees=1, n=0),
        lambda: Exact(value=math.inf),
        lambda: Share(hits=0, n=0),
        lambda: Share(hits=3, n=2),
        lambda: Share(hits=-1, n=2),
        lambda: Share(hits=1, n=2, factor=math.nan),
        lambda: divided(mean_of([1.0, 2.0]), mean_of([1.0, -1.0])),
        lambda: Share(hits=1, n=2, alike=0.5),
        lambda: Share(hits=1, n=2, alike=3.0),
        lambda: mean_of([1.0, 2.0]).interval(1.0),
        lambda: Exact(value=1.0).interval(0.0),
        lambda: bound(Share(hits=1, n=2), "low", 0.5),
    ],
)
def test_what_is_no_number_is_refused(make):
    with pytest.raises(ValueError):  # noqa: PT011 - any wording
        make()


def test_equal_errors_add_their_degrees():
    """Satterthwaite's formula for two equal parts: the degrees add up."""
    assert sum_of_errors((3.0, 5), (3.0, 5)) == pytest.approx((18**0.5, 10))
    assert sum_of_errors((3.0, 5), (0.0, 7)) == pytest.approx((3.0, 5))
    assert sum_of_errors((3.0, 0), (4.0, 7)) == (5.0, 0)


def test_a_measured_divisor_adds_its_error():
    """By hand: relative errors of 0.3 and 0.4 make 0.5."""
    found = divided(
        Mean(mean=2.0, error=0.6, degrees=math.inf, n=5),
        Mean(mean=-10.0, error=4.0, degrees=math.inf, n=7),
    )
    assert (found.mean, found.n) == (2.0, 5)
    assert found.error == pytest.approx(1.0)
    assert divided(found, Mean(mean=1.0, error=0.0, degrees=3, n=4)).error == pytest.approx(1.0)


def test_a_mean_of_quotients_lies_in_its_interval():
    source, held = np.random.default_rng(11), []
    for _ in range(1500):
        divisor = mean_of(source.normal(3.0, 0.8, 8))
        values = source.normal(1.5, 0.3, 8) / divisor.mean
        interval = divided(mean_of(values), divisor).interval()
        held.append(interval.low <= 0.5 <= interval.high)
    assert np.mean(held) == pytest.approx(0.95, abs=0.02)


def test_separation_counts_deviations():
    source = np.random.default_rng(1)
    one, other = source.normal(3, 1, 2000), source.normal(1, 1, 2000)
    assert separation(one, other) == pytest.approx(2, abs=0.15)
    assert separation(np.ones(3), np.zeros(3)) == math.inf


def test_a_positive_mean_is_less_sure_upward():
    found = Positive(of=Mean(mean=2.0, error=0.5, degrees=math.inf, n=9)).interval()
    factor = math.exp(0.25 * 1.959964)
    assert (found.low, found.high) == pytest.approx((2 / factor, 2 * factor))
    assert Positive(of=Mean(mean=0.0, error=0.0, degrees=3, n=4)).interval().high == 0
    with pytest.raises(ValueError, match="no logarithm"):
        Positive(of=Mean(mean=0.0, error=0.1, degrees=3, n=4))


def test_deviations_lie_in_their_interval_on_both_sides():
    """Means of 8 deviations of 2 values each, which are skewed: Student's own misses upward."""
    source, above, below = np.random.default_rng(12), 0, 0
    for _ in range(2000):
        pairs = source.normal(size=(8, 2))
        of = mean_of(np.abs(pairs[:, 0] - pairs[:, 1]) / 2 * math.sqrt(math.pi))
        interval = Positive(of=of).interval()
        above, below = above + (interval.high < 1), below + (interval.low > 1)
    assert above / 2000 < 0.06
    assert below / 2000 < 0.04
