"""A gate passes only where the whole interval holds."""

import pytest

from lora_ci.core.errors import InputError
from lora_ci.core.step import Outcome
from lora_ci.qa.gates import check_gate
from lora_ci.ruler.statistics import Interval


def interval(low, mean, high):
    return Interval(mean=mean, low=low, high=high, n=8)


@pytest.mark.parametrize(
    ("condition", "value", "outcome"),
    [
        (">= 0.7", interval(0.72, 0.8, 0.9), Outcome.PASSED),
        (">= 0.7", interval(0.65, 0.8, 0.9), Outcome.INCONCLUSIVE),
        (">= 0.7", interval(0.3, 0.5, 0.69), Outcome.FAILED),
        ("<= 0.1", interval(0.0, 0.05, 0.1), Outcome.PASSED),
        ("<= 0.1", interval(0.11, 0.2, 0.3), Outcome.FAILED),
        ("< 0.1", 0.1, Outcome.FAILED),
        ("> -0.5", 0.0, Outcome.PASSED),
        (">= 0.7", Interval(mean=0.9, low=None, high=None, n=1), Outcome.INCONCLUSIVE),
    ],
)
def test_outcomes(condition, value, outcome):
    assert check_gate("identity", condition, {"identity": value}).outcome is outcome


def test_an_unmeasured_metric_is_no_pass():
    gate = check_gate("identiti", ">= 0", {"identity": 1.0})
    assert gate.outcome is Outcome.INCONCLUSIVE
    assert gate.why == "could not be measured; near names that were: identity"


@pytest.mark.parametrize("condition", ["0.7", "=> 0.7", ">= x", ">= 1e9", ""])
def test_what_is_no_condition_is_refused(condition):
    with pytest.raises(InputError, match="expected such as"):
        check_gate("identity", condition, {"identity": 1.0})
