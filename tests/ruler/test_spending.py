"""However often one looks, the whole error stays what was allowed."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.ruler.spending import obrien_fleming, pocock, spend
from lora_ci.ruler.student import t_quantile

SHAPES = [pocock, obrien_fleming]
RUNS, PROMPTS, LOOKS = 10000, 8, (2, 4, 8)


@pytest.mark.parametrize("shape", SHAPES)
@given(
    fractions=st.sets(st.floats(0.01, 0.99), max_size=6).map(lambda some: [*sorted(some), 1.0]),
    error=st.floats(1e-4, 0.5),
)
def test_the_parts_add_up(shape, fractions, error):
    parts = spend(fractions, error, shape)
    assert len(parts) == len(fractions)
    assert sum(parts) == pytest.approx(error)
    assert min(parts) >= -1e-15


def test_the_spending_functions():
    """Lan and DeMets's functions by hand: at half of the evidence, error 0.05."""
    half = 0.05 * math.log(1 + (math.e - 1) / 2)
    assert spend([0.5, 1], 0.05) == pytest.approx([half, 0.05 - half])
    late = math.erfc(1.959964 / math.sqrt(0.5) / math.sqrt(2))
    assert spend([0.5, 1], 0.05, obrien_fleming)[0] == pytest.approx(late, rel=1e-5)


@pytest.mark.parametrize("fractions", [[], [0.5], [0.5, 0.5, 1], [0, 1], [0.7, 0.3, 1], [1, 2]])
def test_looks_that_do_not_grow_are_refused(fractions):
    with pytest.raises(ValueError, match="looks at fractions"):
        spend(fractions, 0.05)


@pytest.mark.parametrize("error", [0, 1, math.nan])
def test_what_is_no_error_is_refused(error):
    with pytest.raises(ValueError, match="an error of"):
        spend([1], error)


def sit(shape, effect, *, between, within, error=0.05):
    """Share of passes and mean seeds looked at: values over a threshold of 0 by `effect`.

    Looks are running means over seeds, so each depends on those before.
    """
    source = np.random.default_rng(4)
    values = effect + between * source.normal(size=(RUNS, PROMPTS, 1))
    values = values + within * source.normal(size=(RUNS, PROMPTS, LOOKS[-1]))
    passed, ended = np.zeros(RUNS, bool), np.zeros(RUNS, bool)
    seeds = np.full(RUNS, LOOKS[-1])
    for look, part in zip(LOOKS, spend([k / LOOKS[-1] for k in LOOKS], error, shape), strict=True):
        by_prompt = values[:, :, :look].mean(axis=2)
        half = t_quantile(part, PROMPTS - 1) * by_prompt.std(axis=1, ddof=1) / PROMPTS**0.5
        over = ~ended & (by_prompt.mean(axis=1) - half > 0)
        under = ~ended & (by_prompt.mean(axis=1) + half < 0)
        passed |= over
        seeds[over | under] = look
        ended |= over | under
    return passed.mean(), seeds.mean()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("between", "within"), [(1, 1), (0.3, 1), (1, 0.3), (0.01, 1)])
def test_false_passes_stay_within_the_error(shape, between, within):
    """At the threshold itself, the worst case of all that should not pass."""
    passed, _ = sit(shape, 0.0, between=between, within=within)
    assert passed <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / RUNS)


@pytest.mark.parametrize("effect", [1.0, 2.0])
def test_spending_early_saves_pictures(effect):
    early, early_seeds = sit(pocock, effect, between=1, within=1)
    late, late_seeds = sit(obrien_fleming, effect, between=1, within=1)
    assert early_seeds < 0.8 * late_seeds
    assert early > late - 0.2
