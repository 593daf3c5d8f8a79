"""A ratio of two measured means lies in its interval, and misses on both sides alike."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lora_ci.ruler.ratio import Ratio, ratio_of
from lora_ci.ruler.statistics import mean_of

VALUES = st.lists(st.floats(-100, 100), min_size=2, max_size=9)


def test_fiellers_bounds_by_hand():
    """Top 2 and bottom 4 with errors of 1 and no covariance, both known: z = 1.959964.

    (16 - z²) r² - 16 r + (4 - z²) = 0.
    """
    known = Ratio(
        top=2.0,
        bottom=4.0,
        top_variance=1.0,
        bottom_variance=1.0,
        covariance=0.0,
        degrees=math.inf,
        n=9,
    )
    interval = known.interval()
    z2 = 1.959964**2
    root = math.sqrt(256 - 4 * (16 - z2) * (4 - z2))
    wanted = [(16 - root) / (2 * (16 - z2)), (16 + root) / (2 * (16 - z2))]
    assert [interval.low, interval.high] == pytest.approx(wanted, rel=1e-6)


POSITIVE = Ratio(
    top=4.0,
    bottom=1.0,
    top_variance=1.0,
    bottom_variance=1.0,
    covariance=0.0,
    degrees=math.inf,
    n=9,
    positive=True,
)


def test_of_positive_numbers_the_lower_end_is_known_where_only_the_top_is_sure():
    """Top 4 and bottom 1 with errors of 1: (z² - 1) r² + 8 r - (16 - z²) = 0 for r above 0."""
    interval = POSITIVE.interval()
    z2 = 1.959964**2
    low = (-8 + math.sqrt(64 + 4 * (z2 - 1) * (16 - z2))) / (2 * (z2 - 1))
    assert interval.low == pytest.approx(low, rel=1e-6)
    assert interval.high is None
    turned = POSITIVE.scaled(-1, 3).interval()
    assert (turned.low, turned.high) == (None, pytest.approx(3 - low, rel=1e-6))


@pytest.mark.parametrize("change", [{"positive": False}, {"top": 1.9}, {"top": -4.0}])
def test_there_is_no_end_where_the_top_is_unsure_or_signs_are_unknown(change):
    interval = replace(POSITIVE, **change).interval()
    assert (interval.low, interval.high) == (None, None)


@pytest.mark.parametrize("truth", [1.0, 2.0, 5.0])
def test_a_lower_end_of_positive_numbers_misses_no_more_often_than_it_may(truth):
    """The bottom is never sure here: an error as large as itself."""
    source = np.random.default_rng(9)

    def low():
        top, bottom = truth + source.normal(0, 0.5), 1 + source.normal(0, 1)
        drawn = replace(
            POSITIVE, top=top, bottom=bottom or 1.0, top_variance=0.25, bottom_variance=1.0
        )
        return drawn.interval(0.9).low

    lows = [low() for _ in range(3000)]
    assert np.mean([end is not None and end > truth for end in lows]) <= 0.06
    assert np.mean([end is not None for end in lows]) > 0.3


def misses(draw, truth, runs=1500):
    """Shares of 90 % intervals that lie above the truth, below it, and that have no ends."""
    intervals = [draw().interval(0.9) for _ in range(runs)]
    open_ended = np.mean([i.low is None for i in intervals])
    ends = [(i.low, i.high) for i in intervals if i.low is not None]
    return (
        np.mean([truth < low for low, _ in ends]),
        np.mean([truth > high for _, high in ends]),
        open_ended,
    )


@pytest.mark.parametrize("spread", [0.3, 1.0])
def test_a_ratio_to_what_was_measured_apart(spread):
    source = np.random.default_rng(7)

    def draw():
        apart = mean_of(source.normal(2.0, spread, 12))
        return ratio_of(source.normal(1.0, 0.5, 8), apart=apart)

    above, below, open_ended = misses(draw, 0.5)
    assert [above, below] == pytest.approx([0.05, 0.05], abs=0.02)
    assert open_ended < 0.01


def test_a_ratio_to_what_was_measured_on_the_same_units():
    source = np.random.default_rng(8)

    def draw():
        common = source.normal(1.0, 0.6, 10)
        return ratio_of(common + source.normal(0.0, 0.1, 10), paired=2 * common)

    above, below, open_ended = misses(draw, 0.5)
    assert [above, below] == pytest.approx([0.05, 0.05], abs=0.02)
    assert open_ended < 0.01


def test_pairing_makes_surer():
    common = np.random.default_rng(9).normal(1.0, 0.3, 10)
    paired = ratio_of(common + 0.01, paired=common).interval()
    apart = ratio_of(common + 0.01, apart=mean_of(common)).interval()
    assert paired.high - paired.low < 0.2 * (apart.high - apart.low)


def test_any_ratio_is_possible_where_the_bottom_may_be_0():
    interval = ratio_of([1.0, 1.1, 0.9], apart=mean_of([1.0, -0.9, 0.4])).interval()
    assert (interval.low, interval.high) == (None, None)


@pytest.mark.parametrize(
    ("tops", "apart"), [([1.0], mean_of([1.0, 2.0])), ([1.0, 2.0], mean_of([1.0]))]
)
def test_one_unit_tells_no_error(tops, apart):
    assert ratio_of(tops, apart=apart).interval().low is None


@given(VALUES, VALUES, st.floats(0.01, 0.999), st.floats(0.01, 0.999))
def test_intervals_hold_the_ratio_and_widen_with_confidence(tops, others, one, other):
    apart = mean_of(others)
    assume(abs(apart.mean) > 1e-3)
    ratio = ratio_of(tops, apart=apart)
    narrow, wide = (ratio.interval(confidence) for confidence in sorted((one, other)))
    assume(wide.low is not None)
    slack = 1e-6 * (1 + abs(wide.low) + abs(wide.high))
    assert wide.low - slack <= narrow.low <= ratio.mean <= narrow.high <= wide.high + slack


@given(VALUES, st.floats(-5, 5), st.floats(-5, 5))
def test_a_scaled_ratio_has_the_scaled_interval(tops, factor, shift):
    ratio = ratio_of(tops, apart=mean_of([3.0, 3.1, 2.9]))
    direct, scaled = ratio.interval(), ratio.scaled(factor, shift).interval()
    wanted = sorted(factor * end + shift for end in (direct.low, direct.high))
    assert [scaled.low, scaled.high] == pytest.approx(wanted, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ratio_of([1.0, 2.0], apart=mean_of([1.0, -1.0])),
        lambda: ratio_of([1.0, 2.0]),
        lambda: ratio_of([1.0, math.nan], apart=mean_of([1.0, 2.0])),
        lambda: ratio_of([1.0, 2.0], paired=[1.0, math.inf]),
    ],
)
def test_what_is_no_ratio_is_refused(make):
    with pytest.raises(ValueError, match=r"ratio to 0|not finite"):
        make()
