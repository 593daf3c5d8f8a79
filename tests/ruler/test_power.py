"""An embedder that sees no difference must not be taken for one that does."""

import numpy as np
import pytest

from lora_ci.ruler.likeness import find_scale
from lora_ci.ruler.statistics import least_separation, mean_of_pairs, separation
from tests.ruler.gaussian_world import GaussianWorld


def judged(world, runs, *, prompts, seeds, references):
    """How often such a world's references are told from the base's pictures."""
    source = np.random.default_rng(3)
    found = 0
    for _ in range(runs):
        base, _, real = world.draw(source, prompts=prompts, seeds=seeds, references=references)
        scale, problem = find_scale(real, base)
        assert (scale is None) is bool(problem)
        found += scale is not None
    return found / runs


BLIND = GaussianWorld(gap=0.0)


@pytest.mark.parametrize(
    ("prompts", "seeds", "references"), [(4, 2, 3), (8, 2, 3), (8, 4, 5), (8, 2, 12)]
)
def test_blind_embedders_are_refused(prompts, seeds, references):
    assert judged(BLIND, 200, prompts=prompts, seeds=seeds, references=references) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("prompt", [0.0, 0.7, 2.0])
@pytest.mark.parametrize(
    ("prompts", "seeds", "references"), [(2, 2, 12), (12, 2, 3), (4, 2, 5), (12, 2, 24)]
)
def test_blind_embedders_are_refused_in_every_world(prompts, seeds, references, prompt):
    world = GaussianWorld(gap=0.0, prompt=prompt)
    assert judged(world, 400, prompts=prompts, seeds=seeds, references=references) <= 0.075


def test_good_embedders_are_let_in():
    assert judged(GaussianWorld(), 100, prompts=8, seeds=2, references=12) >= 0.99


def test_the_least_separation_is_wrong_as_often_as_told():
    source = np.random.default_rng(4)
    for n, units in ((3, 8), (12, 8), (24, 12)):
        wrong = [
            least_separation(source.normal(1.5, 1, n), source.normal(0, 1, units), units=units)
            > 1.5
            for _ in range(1000)
        ]
        assert np.mean(wrong) <= 0.06


def test_the_least_separation_by_hand():
    """Equal variances of 1, 5 of each: 8 degrees, so Hedges's factor is 1 - 3/31.

    The 0.95 quantile of Student's t at 8 degrees is 1.860 (NIST).
    """
    one = np.array([-1.0, 1.0, -1.0, 1.0, 0.0]) + 2
    other = one - 2
    shrunk = 2 * (1 - 3 / 31)
    assert separation(one, other) == pytest.approx(2)
    wanted = shrunk - 1.860 * (2 / 5 + shrunk**2 / 16) ** 0.5
    assert least_separation(one, other, units=5) == pytest.approx(wanted, abs=1e-3)


def test_pairs_of_the_same_units_are_not_independent():
    """The jackknife against the known standard error of Gini's mean of squared differences.

    Half the mean squared difference of pairs is the sample variance, whose own variance is
    2 / (n - 1) for normal values of variance 1.
    """
    source = np.random.default_rng(6)
    errors, means = [], []
    for _ in range(400):
        values = source.normal(size=40)
        found = mean_of_pairs((values[:, None] - values) ** 2 / 2)
        means.append(found.mean)
        errors.append(found.error)
        assert found.mean == pytest.approx(values.var(ddof=1))
    assert np.std(means) == pytest.approx((2 / 39) ** 0.5, rel=0.1)
    assert np.mean(errors) == pytest.approx((2 / 39) ** 0.5, rel=0.1)


def test_two_units_are_one_pair():
    found = mean_of_pairs(np.array([[1.0, 0.3], [0.3, 1.0]]))
    assert found.mean == pytest.approx(0.3)
    assert found.interval().low is None
