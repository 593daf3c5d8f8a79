"""Early stopping: who goes on, until the longest budget is reached and nobody is left."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from lora_ci.automl.asha import promoted


def test_one_in_three_goes_on():
    first = {name: float(i) for i, name in enumerate("abcdefghi")}
    assert promoted([first], 3, 3) == (("i", 1), ("h", 1), ("g", 1))
    second = {"i": 1.0, "h": 3.0, "g": 2.0}
    assert promoted([first, second], 3, 3) == (("h", 2),)
    assert promoted([first, second, {"h": 1.0}], 3, 3) == ()


def test_at_least_one_goes_on_and_what_is_not_measured_does_not():
    assert promoted([{"a": 1.0, "b": None}], 2, 4) == (("a", 1),)
    assert promoted([{"a": None, "b": None}], 2, 4) == ()


def test_equal_scores_go_by_their_order():
    assert promoted([{"b": 1.0, "a": 1.0}], 2, 2) == (("b", 1),)


def test_one_budget_has_nothing_to_go_on_to():
    assert promoted([{"a": 1.0}], 1, 3) == ()
    assert promoted([], 3, 3) == ()


@settings(max_examples=40)
@given(
    scores=st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=40),
    budgets=st.integers(1, 5),
    reduction=st.integers(2, 5),
    seed=st.randoms(use_true_random=False),
)
def test_it_always_ends_at_the_longest_budget_with_the_sizes_of_successive_halving(
    scores, budgets, reduction, seed
):
    rungs = [{str(i): score for i, score in enumerate(scores)}]
    while jobs := promoted(rungs, budgets, reduction):
        (rung,) = {at for _, at in jobs}
        assert rung == len(rungs)
        assert all(name in rungs[rung - 1] for name, _ in jobs)
        rungs.append({name: seed.random() for name, _ in jobs})
    assert len(rungs) == (budgets if any(s is not None for s in scores) else 1)
    for below, above in pairwise(rungs):
        measured = sum(score is not None for score in below.values())
        assert len(above) == min(measured, max(1, len(below) // reduction))
