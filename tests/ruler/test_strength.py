"""The smallest weight that is about as good as the best."""

import numpy as np

from lora_ci.ruler.strength import Strength, Trial, find_window


def recommend(curve):
    window = find_window(curve)
    return window and window.recommended


def at(weight, identity, clean=1.0):
    return Strength(weight=weight, identity=identity, clean=clean)


def test_a_rising_curve_is_followed_until_it_breaks():
    curve = [at(0.6, 0.4), at(0.8, 0.6), at(1.0, 0.8), at(1.2, 0.9, clean=0.5)]
    assert recommend(curve) == 1.0


def test_a_plateau_gives_the_lower_weight():
    assert recommend([at(0.6, 0.5), at(0.8, 0.9), at(1.0, 0.91), at(1.2, 0.92)]) == 0.8


def test_more_than_real_counts_no_more():
    assert recommend([at(0.8, 1.0), at(1.2, 1.6)]) == 0.8


def test_without_identity_nothing_is_recommended():
    assert recommend([at(1.0, None)]) is None


def test_the_window_holds_what_is_about_as_good():
    window = find_window([at(0.4, 0.3), at(0.6, 0.8), at(0.8, 0.9), at(1.0, 0.9), at(1.2, 0.5)])
    assert (window.low, window.high, window.recommended) == (0.6, 1.0, 0.8)


def test_what_is_no_better_than_the_base_has_no_window():
    assert find_window([at(0.6, -0.1), at(1.0, 0.0)]) is None


def trial(identity, clean=None):
    shown = np.array(identity)
    weights = (0.4, 0.6, 0.8, 1.0, 1.2)
    return Trial(
        weights=weights, identity=shown, clean=np.ones_like(shown) if clean is None else clean
    )


def test_prompts_that_agree_make_a_weight_sure():
    steady = np.outer([0.2, 0.5, 0.95, 0.9, 0.8], np.ones(6))
    chosen = trial(steady).window()
    assert chosen.window.recommended == 0.8
    ends = chosen.estimate(lambda window: window.recommended).interval()
    assert (ends.low, ends.high, ends.n) == (0.8, 0.8, 6)


def test_prompts_that_do_not_agree_leave_it_open():
    noise = np.random.default_rng(3).normal(0, 0.6, (5, 6))
    chosen = trial(0.5 + noise).window()
    ends = chosen.estimate(lambda window: window.recommended).interval()
    assert ends.low < ends.high
    assert ends.low <= chosen.window.recommended <= ends.high


def test_one_prompt_tells_nothing_of_others():
    chosen = trial(np.array([[0.2], [0.9], [0.9], [0.9], [0.9]])).window()
    ends = chosen.estimate(lambda window: window.low).interval()
    assert (ends.mean, ends.low, ends.high) == (0.6, None, None)


def test_a_wider_confidence_has_a_wider_interval():
    noise = np.random.default_rng(4).normal(0, 0.4, (5, 8))
    estimate = trial(0.5 + noise).window().estimate(lambda window: window.high)
    wide, narrow = estimate.interval(0.99), estimate.interval(0.5)
    assert wide.low <= narrow.low <= narrow.high <= wide.high
