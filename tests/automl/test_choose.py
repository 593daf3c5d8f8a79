"""The best is one that passed; ties go to the cheaper; what is not measured is no zero."""

from hypothesis import given
from hypothesis import strategies as st

from lora_ci.automl.choose import choose, ranked
from lora_ci.core.step import Outcome
from lora_ci.core.sweep import Standing


def standing(lora: str, score: float | None, outcome=Outcome.PASSED, **more: object) -> Standing:
    return Standing(lora=lora, values={}, score=score, outcome=outcome, **more)


def best(*given: Standing, lower: bool = False) -> tuple[str | None, str]:
    chosen, why = choose(ranked(given, lower_is_better=lower))
    return chosen and chosen.lora, why


def test_the_highest_or_the_lowest():
    three = standing("a", 0.5), standing("b", 0.9), standing("c", 0.7)
    assert best(*three) == ("b", "the best of 3 that passed, of 3")
    assert best(*three, lower=True)[0] == "a"


def test_of_equal_scores_the_one_that_sees_fewer_images():
    assert best(
        standing("a", 0.9, images_seen=200.0),
        standing("b", 0.9, images_seen=100.0),
        standing("c", 0.9, images_seen=100.0),
        standing("d", 0.9),
    ) == ("b", "the best of 4 that passed, of 4; 3 more score the same and see no fewer images")


def test_what_failed_is_never_best_unless_none_passed():
    failed = standing("a", 0.95, Outcome.FAILED)
    unsure = standing("b", 0.97, Outcome.INCONCLUSIVE)
    assert best(failed, unsure, standing("c", 0.5))[0] == "c"
    assert best(failed, unsure) == ("b", "none of 2 passed; this one comes nearest")


def test_what_is_not_measured_is_no_zero():
    assert best(standing("a", None)) == (None, "none of 1 configurations could be measured")
    assert best(standing("a", None), standing("b", 0.0), lower=True) == (
        "b",
        "the best of 1 that passed, of 2; 1 could not be measured",
    )
    assert best() == (None, "none of 0 configurations could be measured")


def test_it_is_told_where_others_may_be_as_good():
    told = best(
        standing("a", 0.9, low=0.85, high=0.95),
        standing("b", 0.88, low=0.8, high=0.96),
        standing("c", 0.7, low=0.6, high=0.8),
        standing("d", 0.7),
    )[1]
    assert told == "the best of 4 that passed, of 4; 1 more may be as good: their intervals overlap"


SCORES = st.one_of(st.none(), st.floats(0, 1, allow_nan=False))


@given(
    st.lists(st.tuples(SCORES, st.sampled_from(list(Outcome)), st.integers(1, 3)), max_size=12),
    st.booleans(),
)
def test_whatever_was_found_nothing_that_passed_beats_the_best(found, lower):
    given_ = [
        standing(str(i), score, outcome, images_seen=float(seen))
        for i, (score, outcome, seen) in enumerate(found)
    ]
    order = ranked(given_, lower_is_better=lower)
    assert sorted(order, key=id) == sorted(given_, key=id)
    chosen, _ = choose(order)
    measured = [s for s in given_ if s.score is not None]
    assert (chosen is None) == (not measured)
    passed = [s for s in measured if s.outcome is Outcome.PASSED]
    rivals = passed or measured
    if chosen:
        assert chosen in rivals
        sign = 1 if lower else -1
        assert all(
            (sign * chosen.score, chosen.images_seen) <= (sign * s.score, s.images_seen)
            for s in rivals
        )
