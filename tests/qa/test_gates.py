"""A gate passes only where the bound that luck might move holds too."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.core.errors import InputError
from lora_ci.core.step import Outcome
from lora_ci.qa.gates import Errors, check_gate
from lora_ci.ruler.ratio import Ratio
from lora_ci.ruler.statistics import Exact, Mean, Share, mean_of

ERRORS = Errors(passing=0.025, failing=0.025)


def about(mean, error=0.02):
    """A mean that is known to some hundredths."""
    return Mean(mean=mean, error=error, degrees=math.inf, n=8)


@pytest.mark.parametrize(
    ("condition", "value", "outcome"),
    [
        (">= 0.7", about(0.8), Outcome.PASSED),
        (">= 0.7", about(0.73), Outcome.INCONCLUSIVE),
        (">= 0.7", about(0.69), Outcome.INCONCLUSIVE),
        (">= 0.7", about(0.5), Outcome.FAILED),
        ("<= 0.1", about(0.05), Outcome.PASSED),
        ("<= 0.1", about(0.2), Outcome.FAILED),
        ("<=0.1", about(0.05), Outcome.PASSED),
        ("< 0.1", Exact(value=0.1), Outcome.FAILED),
        ("<= 0.1", Exact(value=0.1), Outcome.PASSED),
        ("> -0.5", Exact(value=0.0), Outcome.PASSED),
        (">= 0.7", mean_of([0.9]), Outcome.INCONCLUSIVE),
        ("<= 0.5", Share(hits=0, n=3), Outcome.INCONCLUSIVE),
        ("<= 0.5", Share(hits=0, n=12), Outcome.PASSED),
        ("<= 0.5", Share(hits=12, n=12), Outcome.FAILED),
    ],
)
def test_outcomes(condition, value, outcome):
    assert check_gate("identity", condition, {"identity": value}, ERRORS).outcome is outcome


def test_less_error_asks_for_more():
    value = {"identity": about(0.75)}
    assert check_gate("identity", ">= 0.7", value, ERRORS).outcome is Outcome.PASSED
    strict = Errors(passing=0.001, failing=0.001)
    assert check_gate("identity", ">= 0.7", value, strict).outcome is Outcome.INCONCLUSIVE


def test_passing_and_failing_have_errors_of_their_own():
    value = {"identity": about(0.65)}
    careful = Errors(passing=0.05, failing=0.001)
    assert check_gate("identity", ">= 0.7", value, ERRORS).outcome is Outcome.FAILED
    assert check_gate("identity", ">= 0.7", value, careful).outcome is Outcome.INCONCLUSIVE


def test_the_reason_names_the_bound_that_decided():
    found = check_gate("identity", ">= 0.7", {"identity": about(0.8)}, ERRORS)
    assert found.why == "0.80, surely at least 0.76"
    assert (found.low, found.high) == (
        pytest.approx(0.761, abs=1e-3),
        pytest.approx(0.839, abs=1e-3),
    )
    assert "at most" in check_gate("x", "<= 0", {"x": about(-1.0)}, ERRORS).why
    assert "between 0.66 and 0.74" in check_gate("x", ">= 0.7", {"x": about(0.7)}, ERRORS).why


@pytest.mark.parametrize(
    ("limit", "outcome"),
    [(0.5, Outcome.FAILED), (2, Outcome.INCONCLUSIVE), (5, Outcome.INCONCLUSIVE)],
)
def test_one_known_end_may_fail_an_adapter_and_never_passes_it(limit, outcome):
    """A ratio of which all that is known is that it is large."""
    large = Ratio(
        top=4.0,
        bottom=1.0,
        top_variance=1.0,
        bottom_variance=1.0,
        covariance=0.0,
        degrees=math.inf,
        n=9,
        positive=True,
    )
    interval = large.interval()
    assert (0.5 < interval.low < 2, interval.high) == (True, None)
    assert check_gate("x", f"<= {limit:g}", {"x": large}, ERRORS).outcome is outcome


def test_an_unmeasured_metric_is_no_pass():
    gate = check_gate("identiti", ">= 0", {"identity": about(1.0)}, ERRORS)
    assert gate.outcome is Outcome.INCONCLUSIVE
    assert gate.why == "not measured; near names that were: identity"


def test_why_it_was_not_measured_is_told():
    gate = check_gate("identity", ">= 0", {}, ERRORS, lacking="no references")
    assert (gate.outcome, gate.why) == (Outcome.INCONCLUSIVE, "not measured: no references")


def test_what_never_will_be_measured_fails():
    assert check_gate("leakage", "<= 1", {}, ERRORS, off=True).outcome is Outcome.FAILED


@pytest.mark.parametrize("condition", ["0.7", "=> 0.7", ">= x", ">= 1e9", "", ">= ٣"])
def test_what_is_no_condition_is_refused(condition):
    with pytest.raises(InputError, match="expected such as"):
        check_gate("identity", condition, {"identity": Exact(value=1.0)}, ERRORS)


@given(
    st.floats(-2, 2),
    st.floats(0, 1),
    st.sampled_from([">=", "<=", ">", "<"]),
    st.sampled_from(["-1", "0", "0.5", "1"]),
)
def test_no_gate_passes_against_its_own_mean(mean, error, sign, limit):
    """Nor does one fail that the mean holds."""
    measured = {"x": Mean(mean=mean, error=error, degrees=5, n=6)}
    gate = check_gate("x", f"{sign} {limit}", measured, ERRORS)
    holds = check_gate("x", f"{sign} {limit}", {"x": Exact(value=mean)}, ERRORS).outcome
    assert gate.outcome in (holds, Outcome.INCONCLUSIVE)
