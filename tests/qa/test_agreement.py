"""Cohen's kappa against tables that others published, and what counts as agreement."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.core.votes import Against, Choice, Side, Vote, pair_id, side_of
from lora_ci.qa.agreement import between_voters, by_pair, cohens_kappa, with_judge

NEW, OTHER, NONE = Choice.NEW, Choice.OTHER, Choice.NONE


@pytest.mark.parametrize(
    ("table", "value", "error"),
    [
        # Cohen (1960), table 1: the agreement of two judges on 200 patients; no error is given.
        ([[88, 14, 18], [10, 40, 10], [2, 6, 12]], 0.492, None),
        # Fleiss, Statistical Methods for Rates and Proportions, table 18.1: 100 diagnoses.
        ([[75, 1, 4], [5, 4, 1], [0, 0, 10]], 0.676, 0.088),
        # Agresti, Categorical Data Analysis (2002), 10.5: two pathologists, 118 slides.
        ([[22, 2, 2, 0], [5, 7, 14, 0], [0, 2, 36, 0], [0, 1, 17, 10]], 0.493, 0.057),
        # The data set SexualFun of the R package vcd, as its function Kappa prints it.
        ([[7, 7, 2, 3], [2, 8, 3, 7], [1, 5, 4, 9], [2, 8, 9, 14]], 0.1293, 0.0686),
        # A table of 19 that SAS PROC FREQ prints, as statsmodels' tests have it.
        ([[0, 4, 1], [0, 8, 0], [0, 1, 5]], 0.4842, 0.1380),
    ],
)
def test_published_tables(table, value, error):
    kappa = cohens_kappa(table)
    assert kappa is not None
    assert kappa.value == pytest.approx(value, abs=6e-4)
    if error is not None:
        assert kappa.error == pytest.approx(error, abs=6e-4)


def test_the_interval_is_that_of_sas():
    kappa = cohens_kappa([[0, 4, 1], [0, 8, 0], [0, 1, 5]])
    assert kappa is not None
    assert (kappa.low, kappa.high) == pytest.approx((0.2137, 0.7547), abs=1e-4)


def test_full_agreement_on_few_pairs_is_not_certain():
    few, more = cohens_kappa([[3, 0], [0, 2]]), cohens_kappa([[12, 0], [0, 12]])
    assert few is not None
    assert more is not None
    assert (few.value, few.low, few.high) == (1.0, None, None)
    assert more.value == more.high == 1.0
    # Wilson's interval of 24 of 24 begins at 0.862, and chance alone gives 0.5.
    assert more.low == pytest.approx((0.8620 - 0.5) / 0.5, abs=1e-3)


@pytest.mark.parametrize("table", [[[0, 0], [0, 0]], [[9, 0], [0, 0]]])
def test_kappa_is_undefined_where_only_one_thing_was_said(table):
    assert cohens_kappa(table) is None


def test_who_always_says_the_same_tells_nothing_of_agreement():
    kappa = cohens_kappa([[30, 0], [20, 0]])
    assert kappa is not None
    assert (kappa.value, kappa.low, kappa.high) == (pytest.approx(0), None, None)


@pytest.mark.parametrize("table", [[[1, 2]], [[1, -1], [0, 1]]])
def test_what_is_no_table_of_counts(table):
    with pytest.raises(ValueError, match="square table"):
        cohens_kappa(table)


counts = st.integers(2, 4).flatmap(
    lambda size: st.lists(
        st.lists(st.integers(0, 40), min_size=size, max_size=size), min_size=size, max_size=size
    )
)


@given(counts)
def test_bounds_and_symmetry(table):
    kappa, turned = cohens_kappa(table), cohens_kappa(list(zip(*table, strict=True)))
    if kappa is None or turned is None:
        assert kappa == turned
        return
    assert -1 - 1e-9 <= kappa.value <= 1 + 1e-9
    assert kappa.value == pytest.approx(turned.value)
    assert kappa.error == pytest.approx(turned.error, abs=1e-9)
    if kappa.low is not None:
        assert kappa.high is not None
        assert kappa.low <= kappa.value + 1e-9
        assert kappa.value <= kappa.high + 1e-9


def vote(pair: str, choice: Choice, voter: str = "ann", fingerprint: str = "f") -> Vote:
    return Vote(
        fingerprint=fingerprint, pair=pair, voter=voter, lora="mei", against=Against.BASE,
        choice=choice, side=Side.LEFT, seed=1,
    )  # fmt: skip


def test_most_voters_speak_for_a_pair():
    votes = [
        vote("a", NEW), vote("a", NEW, "bob"), vote("a", OTHER, "cy"),
        vote("b", NEW), vote("b", OTHER, "bob"),
        vote("c", NONE), vote("c", NONE, "bob"), vote("c", NEW, "cy"),
        vote("d", OTHER),
    ]  # fmt: skip
    assert by_pair(votes) == {"a": NEW, "b": NONE, "c": NONE, "d": OTHER}


def test_people_without_a_preference_do_not_disagree_with_the_judge():
    people = {"a": NEW, "b": NEW, "c": OTHER, "d": OTHER, "e": NONE, "f": NEW}
    judge = {"a": NEW, "b": NEW, "c": OTHER, "d": NEW, "e": NEW, "g": OTHER}
    kappa = with_judge(people, judge)
    assert kappa is not None
    assert (kappa.n, kappa.agreed) == (4, 0.75)
    # By hand: agreement 0.75, chance 0.5 · 0.75 + 0.5 · 0.25.
    assert kappa.value == pytest.approx((0.75 - 0.5) / 0.5)


def test_voters_are_compared_on_the_pairs_that_both_saw():
    votes = [
        *(vote(pair, NEW if pair in "ab" else OTHER) for pair in "abcd"),
        *(vote(pair, NEW if pair in "ab" else OTHER, "bob") for pair in "abc"),
        # The same pair of another judgement is another one.
        vote("a", OTHER, "bob", "g"),
        vote("z", NEW, "cy"),
    ]
    found = between_voters(votes)
    assert list(found) == [("ann", "bob")]
    kappa = found["ann", "bob"]
    assert kappa is not None
    assert (kappa.value, kappa.n) == (1.0, 3)


@given(st.integers(0, 2**53), st.text(max_size=20), st.none() | st.integers(0, 99))
def test_sides_follow_from_the_seed(seed, prompt, noise):
    pair = pair_id(prompt, noise)
    assert side_of(seed, pair) is side_of(seed, pair)
    assert side_of(seed, pair).opposite is not side_of(seed, pair)


def test_sides_are_fair():
    left = sum(side_of(7, pair_id("a prompt", i)) is Side.LEFT for i in range(2000))
    assert 910 < left < 1090  # four deviations of a fair coin
