"""Intervals cover the truth as often as they say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.ruler.statistics import (
    Interval,
    mean_interval,
    separation,
    share_interval,
    t_975,
)


@pytest.mark.parametrize("n", [3, 8, 40])
def test_t_intervals_cover_the_mean_95_times_of_100(n):
    source = np.random.default_rng(1)
    hits = 0
    for _ in range(4000):
        interval = mean_interval(source.normal(2.0, 3.0, n))
        hits += interval.low <= 2.0 <= interval.high
    assert 0.938 < hits / 4000 < 0.962


@pytest.mark.parametrize("share", [0.05, 0.5, 0.97])
def test_wilson_intervals_cover_the_share(share):
    source = np.random.default_rng(2)
    hits = [share_interval(int(k), 30) for k in source.binomial(30, share, 4000)]
    assert sum(i.low <= share <= i.high for i in hits) / 4000 > 0.92


def test_wilson_is_honest_about_none_and_all():
    # Known values for n = 10: 1 / (1 + z²/n) is the lower end for all of n.
    assert share_interval(10, 10).low == pytest.approx(0.7225, abs=1e-3)
    assert share_interval(0, 10).high == pytest.approx(0.2775, abs=1e-3)


def test_one_value_has_no_interval():
    assert mean_interval([0.4]) == Interval(mean=0.4, low=None, high=None, n=1)


@pytest.mark.parametrize(("degrees", "wanted"), [(1, 12.706), (30, 2.042), (60, 2.000)])
def test_student_quantiles(degrees, wanted):
    assert t_975(degrees) == pytest.approx(wanted, rel=3e-3)


@given(st.floats(-5, 5).filter(lambda x: abs(x) > 1e-6), st.floats(-5, 5))
def test_a_scaled_interval_is_the_interval_of_scaled_values(factor, shift):
    values = np.array([0.1, 0.5, 0.4, 0.9])
    direct = mean_interval(factor * values + shift)
    scaled = mean_interval(values).scaled(factor, shift)
    assert (scaled.low, scaled.mean, scaled.high) == pytest.approx(
        (direct.low, direct.mean, direct.high), abs=1e-9
    )


def test_separation_counts_deviations():
    source = np.random.default_rng(3)
    found = separation(source.normal(2, 1, 5000), source.normal(0, 1, 5000))
    assert found == pytest.approx(2.0, abs=0.1)
    assert separation(np.ones(3), np.zeros(3)) == np.inf


@pytest.mark.parametrize(("hits", "n"), [(1, 0), (3, 2), (-1, 4)])
def test_no_share_is_refused(hits, n):
    with pytest.raises(ValueError, match="no share"):
        share_interval(hits, n)
