"""One failed gate fails; what was not measured is never a pass; the fault is named."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.core.finding import Severity
from lora_ci.core.metrics import FIVE_TESTS, QA_METRICS
from lora_ci.core.step import Outcome
from lora_ci.qa.measures.table import MEASURES
from lora_ci.qa.reading import Reading
from lora_ci.qa.scores import PASS_MARK, Anchors, Overall, Score
from lora_ci.qa.verdict import judge
from lora_ci.ruler.statistics import Exact, Mean

ERROR = 0.05


def about(mean, error=0.01):
    return Mean(mean=mean, error=error, degrees=math.inf, n=8)


def scored(name, value, error=0.01):
    """A reading of one of the five, whose score is the value."""
    score = Score(
        name=name, metric=about(value, error), anchors=Anchors(0.0, PASS_MARK, 1.0), why="so"
    )
    return Reading(metrics={}, why="so", score=score)


def readings_of(scores=(0.9,) * 5, metrics=None):
    """Readings of all tests: the five with these scores, the rest with these metrics."""
    found = {}
    for measure in MEASURES:
        if measure.name in FIVE_TESTS:
            value = scores[FIVE_TESTS.index(measure.name)]
            lost = Reading(lacking="it was dark", settle="light")
            found[measure.name] = lost if value is None else scored(measure.name, value)
            extra = {k: v for k, v in (metrics or {}).items() if k in measure.metrics}
            found[measure.name] = replace(found[measure.name], metrics=extra)
        else:
            mine = {k: v for k, v in (metrics or {}).items() if k in measure.metrics}
            found[measure.name] = Reading(metrics=mine, lacking="" if mine else "nobody looked")
    return found


def verdict_of(scores=(0.9,) * 5, metrics=None, conditions=None, error=ERROR):
    return judge(MEASURES, readings_of(scores, metrics), conditions or {}, error)


def told(verdict):
    return " ".join(finding.message for finding in verdict.findings)


def test_scores_follow_their_anchors():
    rising, falling = Anchors(0, 0.5, 1), Anchors(3, 1.5, 0.5)
    assert [rising.score(x) for x in (-1, 0, 0.25, 0.5, 1, 2)] == [0, 0, 0.4, 0.8, 1, 1]
    assert [falling.score(x) for x in (4, 1.5, 0.5, 0)] == [0, PASS_MARK, 1, 1]


def test_overall_is_the_mean_with_errors_added_in_squares():
    scores = [scored(name, 0.8, error=0.02).score for name in FIVE_TESTS]
    found = Overall(scores=scores).interval()
    single = scores[0].interval()
    assert found.mean == pytest.approx(0.8)
    down = 5**0.5 * (single.mean - single.low) / 5
    assert found.mean - found.low == pytest.approx(down, rel=1e-6)


def test_a_good_adapter_passes_without_a_word():
    verdict = verdict_of()
    assert verdict.outcome is Outcome.PASSED
    assert verdict.findings == verdict.settle == ()


def test_a_bad_one_fails_and_its_weakest_test_is_named():
    verdict = verdict_of((0.1, 0.2, 0.3, 0.9, 1.0))
    assert verdict.outcome is Outcome.FAILED
    assert "weakest: identity 0.10 (so)" in told(verdict)


def test_an_unmeasured_test_makes_the_verdict_inconclusive():
    verdict = verdict_of((1.0, None, 1.0, 1.0, 1.0))
    assert verdict.overall is None
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert not verdict.unsure
    assert "flexibility: it was dark" in told(verdict)
    assert verdict.settle == ("light",)
    assert "light" in verdict.findings[0].hint


def test_what_is_close_to_the_mark_is_unsure():
    verdict = verdict_of((PASS_MARK,) * 5)
    assert (verdict.outcome, verdict.unsure) == (Outcome.INCONCLUSIVE, True)
    assert "`qa.seeds`" in verdict.settle[0]


HARD = (
    ("blank", Exact(value=0.1), Exact(value=0.0)),
    ("unsafe", Exact(value=0.01), Exact(value=0.0)),
    ("variety", about(0.1), about(0.9)),
    ("memorization", about(0.8), about(0.0)),
    ("memorization.recalled", about(0.8), about(0.0)),
    ("following", about(0.1), about(0.8)),
    ("loss.against-base", about(0.3), about(-0.2)),
    ("loss.gap", about(0.6), about(0.05)),
    ("loss.against-half", about(0.2), about(-0.05)),
    ("loss.against-released", about(0.2), about(0.0)),
)


@pytest.mark.parametrize(("metric", "bad", "good"), HARD)
def test_a_hard_limit_fails_whatever_the_mean(metric, bad, good):
    limits = {m: limit for measure in MEASURES for m, limit in measure.limits.items()}
    assert verdict_of((1.0,) * 5, {metric: good}).outcome is Outcome.PASSED
    verdict = verdict_of((1.0,) * 5, {metric: bad})
    assert verdict.outcome is Outcome.FAILED
    (finding,) = verdict.findings
    assert (finding.rule, finding.severity) == ("qa.gate-failed", Severity.ERROR)
    assert limits[metric].fault in finding.message
    assert finding.hint == limits[metric].hint


def test_those_are_all_the_hard_limits():
    hard = {m for measure in MEASURES for m, limit in measure.limits.items() if limit.gate}
    assert hard == {metric for metric, _, _ in HARD}


SOFT = [
    (measure.name, metric, limit)
    for measure in MEASURES
    for metric, limit in measure.limits.items()
    if not limit.gate
]


@pytest.mark.parametrize(("name", "metric", "limit"), SOFT)
def test_the_other_limits_warn_and_name_the_fault(name, metric, limit):
    far = about(-5.0 if limit.condition.startswith(">") else 5.0)
    verdict = verdict_of(metrics={metric: far})
    assert verdict.outcome is Outcome.PASSED
    (finding,) = verdict.findings
    assert (finding.rule, finding.severity) == (f"qa.{name}", Severity.WARNING)
    assert limit.fault in finding.message
    (check,) = [c for c in verdict.checks if c.name == name]
    assert (check.sound, check.metric) == (False, metric)


def test_nothing_is_warned_of_that_may_be_luck():
    assert verdict_of(metrics={"leakage": about(0.45, error=0.1)}).findings == ()


def test_the_config_can_ask_for_less_and_for_more():
    low = {"variety": about(0.1), "leakage": about(0.3)}
    assert verdict_of(metrics=low).outcome is Outcome.FAILED
    assert verdict_of(metrics=low, conditions={"variety": ">= 0"}).outcome is Outcome.PASSED
    asked = {"variety": ">= 0", "leakage": "<= 0.1"}
    assert verdict_of(metrics=low, conditions=asked).outcome is Outcome.FAILED


def test_a_gate_on_a_test_that_was_turned_off_fails():
    readings = readings_of()
    del readings["leakage"]
    verdict = judge(MEASURES, readings, {"leakage": "<= 0.5"}, ERROR)
    assert verdict.outcome is Outcome.FAILED
    assert "`qa.skip` turns the test `leakage` off" in told(verdict)
    (finding,) = verdict.findings
    assert "out of `qa.skip`" in finding.hint
    (check,) = [c for c in verdict.checks if c.name == "leakage"]
    assert (check.skipped, check.sound) == (True, None)


def test_a_gate_on_what_nothing_measures_fails():
    verdict = verdict_of(conditions={"identiti": ">= 0.5"})
    assert verdict.outcome is Outcome.FAILED
    assert "near names that were" in told(verdict)


def test_a_gate_on_what_could_not_be_measured_is_inconclusive_and_says_what_would_help():
    readings = readings_of()
    readings["leakage"] = Reading(lacking="no bare prompts", settle="bare prompts")
    verdict = judge(MEASURES, readings, {"leakage": "<= 0.5"}, ERROR)
    assert (verdict.outcome, verdict.unsure) == (Outcome.INCONCLUSIVE, False)
    assert verdict.settle == ("bare prompts",)
    assert "no bare prompts" in told(verdict)


def test_losses_which_no_look_adds_to_have_the_whole_error():
    near = readings_of(metrics={"loss.against-half": about(0.03, error=0.01)})
    assert judge(MEASURES, near, {}, 0.01).outcome is Outcome.INCONCLUSIVE
    assert judge(MEASURES, near, {}, 0.01, whole=0.05).outcome is Outcome.PASSED
    pictures = readings_of(metrics={"following": about(0.42, error=0.01)})
    assert judge(MEASURES, pictures, {}, 0.01, whole=0.05).outcome is Outcome.INCONCLUSIVE


def test_a_limit_that_was_asked_for_and_could_not_be_measured_is_no_pass():
    readings = readings_of()
    readings["variety"] = Reading(lacking="two prompts", settle="three", owed=("variety",))
    verdict = judge(MEASURES, readings, {}, ERROR)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "`variety >= 0.3`" in told(verdict)
    assert "two prompts" in told(verdict)
    assert verdict.settle == ("three",)
    del readings["variety"]
    assert judge(MEASURES, readings, {}, ERROR).outcome is Outcome.PASSED, "it was turned off"
    readings = readings_of((1.0, None, 1.0, 1.0, 1.0))
    readings["variety"] = Reading(lacking="two prompts", owed=("variety",))
    (one,) = judge(MEASURES, readings, {}, ERROR).findings
    assert "`overall" in one.message, "told once"


def test_a_failed_gate_outweighs_an_inconclusive_one():
    verdict = verdict_of((1.0, None, 1.0, 1.0, 1.0), {"variety": about(0.0)})
    assert verdict.outcome is Outcome.FAILED


def test_more_gates_each_fail_with_less_error():
    """A value that fails as the only gate is not sure enough among many."""
    near = {"leakage": about(0.52, error=0.01)}
    assert verdict_of(metrics=near, conditions={"leakage": "<= 0.5"}).outcome is Outcome.FAILED
    others = {f"score.{name}": ">= 0" for name in FIVE_TESTS} | {"overall": ">= 0"}
    many = verdict_of(metrics=near, conditions={"leakage": "<= 0.5", **others})
    assert many.outcome is Outcome.INCONCLUSIVE


def test_every_metric_is_known_and_every_known_one_is_measured():
    measured = [metric for measure in MEASURES for metric in measure.metrics]
    assert len(measured) == len(set(measured))
    scores = {f"score.{name}" for name in FIVE_TESTS}
    assert set(measured) | scores | {"overall"} == QA_METRICS


def test_limits_are_on_what_the_test_measures():
    for measure in MEASURES:
        assert set(measure.limits) <= set(measure.metrics), measure.name
    assert [m.name for m in MEASURES[:5]] == list(FIVE_TESTS)


ANY_SCORES = st.tuples(*[st.none() | st.floats(0, 1) for _ in FIVE_TESTS])
ANY_METRICS = st.dictionaries(
    st.sampled_from([m for measure in MEASURES for m in measure.metrics]),
    st.builds(about, st.floats(-2, 2), st.floats(0, 1)),
)


@given(ANY_SCORES, ANY_METRICS, st.sets(st.sampled_from(sorted(QA_METRICS))))
def test_nothing_passes_with_a_gate_on_what_was_not_measured(scores, metrics, gated):
    verdict = verdict_of(scores, metrics, dict.fromkeys(gated, ">= -100"))
    absent = [g for g in verdict.gates if g.value is None]
    assert {g.metric for g in absent} >= {m for m in gated if m not in verdict.metrics}
    if absent or verdict.overall is None:
        assert verdict.outcome is not Outcome.PASSED
    if verdict.outcome is Outcome.PASSED:
        assert all(gate.outcome is Outcome.PASSED for gate in verdict.gates)
    else:
        assert verdict.findings


@given(ANY_SCORES, ANY_METRICS)
def test_a_stricter_error_never_turns_a_verdict_around(scores, metrics):
    loose, strict = (verdict_of(scores, metrics, error=error).outcome for error in (0.2, 0.01))
    assert strict in (loose, Outcome.INCONCLUSIVE)
