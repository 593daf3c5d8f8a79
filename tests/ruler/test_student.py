"""Student's t agrees with published tables and closed forms."""

import math

import pytest

from lora_ci.ruler.student import incomplete_beta, t_quantile, t_tail


@pytest.mark.parametrize(
    ("tail", "degrees", "wanted"),
    [
        (0.025, 1, 12.706),
        (0.025, 3, 3.182),
        (0.025, 11, 2.201),
        (0.025, 30, 2.042),
        (0.025, 100, 1.984),
        (0.1, 5, 1.476),
        (0.05, 9, 1.833),
        (0.01, 7, 2.998),
        (0.005, 2, 9.925),
        (0.001, 20, 3.552),
    ],
)
def test_published_quantiles(tail, degrees, wanted):
    """NIST/SEMATECH e-Handbook of Statistical Methods, table 1.3.6.7.2."""
    assert t_quantile(tail, degrees) == pytest.approx(wanted, abs=6e-4)


@pytest.mark.parametrize("tail", [0.4, 0.025, 1e-4, 1e-9])
def test_one_and_two_degrees_have_closed_forms(tail):
    """One degree is Cauchy's distribution, cot(π · tail); two give a root of a rational."""
    assert t_quantile(tail, 1) == pytest.approx(1 / math.tan(math.pi * tail), rel=1e-9)
    two = (1 - 2 * tail) / math.sqrt(2 * tail * (1 - tail))
    assert t_quantile(tail, 2) == pytest.approx(two, rel=1e-9)


@pytest.mark.parametrize("tail", [0.5, 0.3, 0.025, 1e-5])
def test_the_expansion_meets_the_search(tail):
    assert t_quantile(tail, 1000.001) == pytest.approx(t_quantile(tail, 999.999), abs=1e-6)


@pytest.mark.parametrize("degrees", [0.7, 3.4, 17.25, 400.5])
def test_a_quantile_has_its_tail(degrees):
    for tail in (0.4, 0.05, 1e-3, 1e-7):
        assert t_tail(t_quantile(tail, degrees), degrees) == pytest.approx(tail, rel=1e-8)


def test_the_incomplete_beta_function_has_closed_forms():
    """I_x(1, b) = 1 - (1 - x)^b and I_x(a, 1) = x^a: DLMF 8.17.7 and 8.17.8."""
    for x in (0.0, 0.01, 0.3, 0.8, 0.99, 1.0):
        assert incomplete_beta(x, 1, 3.5) == pytest.approx(1 - (1 - x) ** 3.5, abs=1e-13)
        assert incomplete_beta(x, 2.5, 1) == pytest.approx(x**2.5, abs=1e-13)
        assert incomplete_beta(x, 2, 7) == pytest.approx(1 - incomplete_beta(1 - x, 7, 2))


@pytest.mark.parametrize(("tail", "degrees"), [(0, 3), (0.6, 3), (0.1, 0), (math.nan, 3)])
def test_what_is_no_probability_is_refused(tail, degrees):
    with pytest.raises(ValueError, match="no t is exceeded"):
        t_quantile(tail, degrees)
