"""The smallest weight that is about as good as the best."""

from lora_ci.ruler.strength import Strength, find_window


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
