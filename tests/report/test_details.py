"""Details come from files of other machines: what is malformed is named, nothing crashes."""

import json
import math
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.core.step import Outcome, Stage, StepResult
from lora_ci.report.comment import render_comment
from lora_ci.report.details import SECTIONS, metric, read_details
from lora_ci.report.junit import render_junit
from lora_ci.report.page import render_page
from lora_ci.report.text import render_run_text
from lora_ci.report.twin import render_twin
from tests.views import (
    StepView,
    deploy_step,
    exhibits,
    make_decision,
    make_view,
    optimize_step,
    qa_details,
    qa_step,
    train_step,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["base", "passed", "a" * 64]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["score", "low", "high", "mean", "n", "name", "why", "kind", "words"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


def qa_result(**details):
    return StepResult(outcome=Outcome.PASSED, details=details)


def test_what_qa_writes_is_read():
    found = read_details(Stage.QA, qa_step(details=qa_details(exhibits(["a cat"]))).result)
    assert found.unreadable == ()
    assert found.overall.pass_mark == 0.8
    assert [t.name for t in found.tests][:2] == ["identity", "flexibility"]
    assert found.weakest.name == "flexibility"
    assert found.comparison.released_version == "1.0.0"
    assert {e.kind for e in found.pictures} == {"base", "adapter", "released", "reference"}


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("overall", {"score": "high"}),
        ("overall", {"score": 0.9, "pass_mark": 80}),
        ("tests", {"identity": 0.8}),
        ("tests", [{"score": 0.8}]),
        ("gates", [{"metric": "overall", "condition": ">= 0.8", "outcome": "fine"}]),
        ("similarity", {"base": [0.1, 0.2]}),
        ("comparison", {"metric": "identity", "difference": None}),
        ("pictures", [{"kind": "evil", "prompt": "", "artifact": "x.png"}]),
        ("seeds", "many"),
    ],
)
def test_one_malformed_section_is_named_and_the_others_are_shown(section, value):
    view = make_view(qa_step(details={**qa_details([]), section: value}))
    assert read_details(Stage.QA, view.steps[0].result).unreadable == (section,)
    assert f"qa: {section}" in render_page(view)
    assert f"not readable in the results: {section}" in render_comment(view)
    assert f"not readable: {section}" in render_run_text(view)
    assert "Likeness to the references" in render_page(view) or section == "similarity"


def test_numbers_that_are_none_count_as_not_measured():
    score = {"name": "identity", "score": math.nan, "low": math.inf, "high": None, "why": "x"}
    found = read_details(Stage.QA, qa_result(tests=[score]))
    assert found.tests[0].score is None
    assert metric(qa_result(), "identity") is None
    odd = StepResult(outcome=Outcome.PASSED, metrics={"a": math.nan, "b": 1e300, "c": 0.5})
    assert [metric(odd, name) for name in "abc"] == [None, None, 0.5]


@pytest.mark.parametrize(
    "change",
    [
        {"version": None},
        {"files": [{"name": "../evil", "sha256": "0" * 64, "size": 1}]},
        {"files": [{"name": "a.safetensors\n", "sha256": "0" * 64, "size": 1}]},
        {"files": [{"name": "a", "sha256": "no digest", "size": 1}]},
        {"targets": [{"name": "a", "channels": [{"name": "latest", "sequence": "first"}]}]},
    ],
)
def test_a_release_that_is_not_sound_is_not_shown(change):
    step = deploy_step(**change)
    found = read_details(Stage.DEPLOY, step.result)
    assert (found.release, found.unreadable) == (None, ("release",))
    page = render_page(make_view(step))
    assert "deploy: release" in page
    assert "evil" not in page


def test_a_result_that_came_to_nothing_is_not_called_unreadable():
    view = make_view(qa_step(details={}), StepView(decision=make_decision("mei", Stage.OPTIMIZE)))
    assert "readable" not in render_page(view) + render_comment(view) + render_run_text(view)


@given(stage=st.sampled_from(Stage), data=st.data())
def test_nothing_in_details_stops_a_report(stage, data):
    names = [*SECTIONS[stage], "version", "targets", "files", "traceback", "other"]
    details = data.draw(st.dictionaries(st.sampled_from(names), JSON))
    metrics = data.draw(st.dictionaries(st.text(max_size=5), st.floats()))
    result = StepResult(outcome=Outcome.PASSED, details=details, metrics=metrics)
    view = make_view(StepView(decision=make_decision("mei", stage), result=result))
    assert render_page(view)
    assert render_comment(view)
    assert render_run_text(view)
    assert json.loads(render_twin(view))["version"] == 1
    assert ElementTree.fromstring(render_junit(view)).tag == "testsuites"


@pytest.mark.slow
def test_huge_lists_give_a_page_that_still_opens():
    many = qa_details(exhibits([f"prompt {i}" for i in range(2_000)]))
    many["tests"] *= 2_000
    many["gates"] *= 2_000
    curve = optimize_step()
    curve.result.details["curve"] *= 2_000
    loss = train_step()
    loss.result.details["loss"] *= 2_000
    release = deploy_step()
    release.result.details["files"] *= 2_000
    view = make_view(loss, qa_step(details=many), curve, release)
    assert len(render_page(view)) < 2_000_000
    assert len(render_comment(view)) < 10_000
