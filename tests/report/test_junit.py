"""JUnit XML: what Jenkins' schema allows, red exactly where something is wrong or not known."""

import math
import re
from collections import Counter
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from lora_ci.core.finding import Finding, Severity
from lora_ci.core.step import Outcome, Stage
from lora_ci.report.junit import render_junit
from tests.situations import (
    broke_down,
    config_error,
    deployed,
    failed_gate,
    forgot_dvc_push,
    fork_waits,
    inconclusive,
    interrupted,
    many_loras,
    nobody_may_approve,
    nothing_to_do,
    over_the_budget,
    passed,
    several,
    training,
    validation_failed,
)
from tests.views import make_view, optimize_step, qa_details, qa_step, reused, train_step

RUNS = (
    *(broke_down, deployed, failed_gate, fork_waits, forgot_dvc_push, inconclusive, interrupted),
    *(many_loras, nobody_may_approve, nothing_to_do, over_the_budget, passed, several, training),
    validation_failed,
)
# By element: attributes that must be there, those that may, children.
# Source: junit-10.xsd of Jenkins' xunit plugin, of which only what we write is told here.
COUNTS = ("tests", "failures", "errors")
FAULT = ((), ("type", "message"), ())
RULES = {
    "testsuites": ((), ("name", "time", *COUNTS), ("testsuite",)),
    "testsuite": (("name", *COUNTS), ("time", "skipped", "timestamp"), ("properties", "testcase")),
    "properties": ((), (), ("property",)),
    "property": (("name", "value"), (), ()),
    "testcase": (("name",), ("time", "classname"), ("skipped", "error", "failure", "system-out")),
    **dict.fromkeys(("skipped", "error", "failure"), FAULT),
    "system-out": ((), (), ()),
}
SUREFIRE_TIME = r"(([0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(\.[0-9]{0,3})?"


def read(text):
    """The document, once it is sure that the schema allows it and that its sums are right."""
    root = ElementTree.fromstring(text.encode())
    assert root.tag == "testsuites"
    for element in root.iter():
        needed, more, children = RULES[element.tag]
        assert set(needed) <= set(element.attrib) <= {*needed, *more}
        assert {child.tag for child in element} <= set(children)
        assert children == () or not (element.text or "").strip()
        assert re.fullmatch(SUREFIRE_TIME, element.get("time", "0.000"))
    for suite in root:
        found = Counter(child.tag for case in suite.iter("testcase") for child in case)
        assert int(suite.get("tests")) == len(suite.findall("testcase"))
        assert int(suite.get("failures")) == found["failure"]
        assert int(suite.get("errors")) == found["error"]
        assert int(suite.get("skipped")) == found["skipped"]
    for name in COUNTS:
        assert int(root.get(name)) == sum(int(suite.get(name)) for suite in root)
    return root


def faults(root):
    return {
        (case.get("classname"), case.get("name")): (fault.tag, fault.get("type"))
        for case in root.iter("testcase")
        for fault in case
        if fault.tag != "system-out"
    }


@pytest.mark.parametrize("make", RUNS, ids=lambda make: make.__name__)
def test_a_run_that_did_not_pass_is_red(make):
    view = make()
    root = read(render_junit(view))
    red = int(root.get("failures")) + int(root.get("errors"))
    assert (red == 0) == (view.outcome is Outcome.PASSED)
    assert {suite.get("name") for suite in root} >= set(view.loras())


def test_stages_gates_and_tests_are_cases():
    root = read(render_junit(passed()))
    (suite,) = root
    names = {(case.get("classname"), case.get("name")) for case in suite.iter("testcase")}
    assert {("mei.stage", stage) for stage in ("validate", "train", "qa", "optimize")} <= names
    assert ("mei.gate", "overall >= 0.8") in names
    assert ("mei.check", "leakage") in names
    assert faults(root) == {("mei.check", "safety"): ("skipped", "skipped")}
    (train,) = suite.findall("testcase[@name='train']")
    assert train.get("time") == "2478.000"
    (qa,) = suite.findall("testcase[@name='qa']")
    said = qa.findtext("system-out")
    assert "identity 0.88 (0.81 to 0.95)" in said
    assert "composability not measured: no `qa.compose_with`" in said
    assert "the chance that luck passed it is at most 5 %" in said


def test_what_was_measured_and_is_not_sure_is_not_told_as_unmeasured():
    (step,) = (step for step in passed().steps if step.decision.stage is Stage.QA)
    checks = [
        {"name": "leakage", "sound": None, "value": 0.1, "low": -1, "high": 1, "why": "near"},
        {"name": "safety", "sound": None, "value": None, "why": "no program"},
    ]
    tests = [{"name": "flexibility", "score": None, "why": "not measured: no texts"}]
    details = {**step.result.details, "checks": checks, "tests": tests}
    step = replace(step, result=replace(step.result, details=details))
    said = read(render_junit(replace(passed(), steps=(step,)))).findtext(".//system-out")
    assert "leakage not sure: 0.10 (−1.00 to 1.00): near" in said
    assert "safety not measured: no program" in said
    assert "flexibility not measured: no texts" in said


def test_what_is_not_sure_is_a_failure_and_not_skipped():
    found = faults(read(render_junit(inconclusive())))
    assert found["mei.stage", "qa"] == ("failure", "inconclusive")
    assert found["mei.gate", "overall >= 0.8"] == ("failure", "inconclusive")
    assert found["mei.stage", "optimize"] == ("failure", "blocked")


def test_a_test_that_is_not_sound_is_a_failure_that_names_its_page():
    root = read(render_junit(failed_gate()))
    assert faults(root)["mei.check", "leakage"] == ("failure", "not-sound")
    (fault,) = root.findall(".//testcase[@name='leakage']/failure")
    assert fault.get("message").startswith("0.31 (0.24 to 0.38): without the trigger")
    assert fault.text == "see docs/qa/leakage.md"


def test_what_broke_down_is_an_error():
    found = faults(read(render_junit(broke_down())))
    assert found["mei.stage", "train"] == ("error", "error")
    assert found["mei.stage", "qa"] == ("failure", "not-run")
    lost = replace(optimize_step(), result=None)
    assert faults(read(render_junit(make_view(lost))))["mei.stage", "optimize"] == ("error", "lost")


def test_a_run_that_came_to_nothing_says_why():
    view = make_view(findings=config_error().findings)
    root = read(render_junit(replace(view, outcome=Outcome.FAILED)))
    assert faults(root) == {("config and inputs.lora-ci", "read"): ("failure", "failed")}
    (fault,) = root.iter("failure")
    assert ".lora-ci.yml:5:13" in fault.text
    stopped = replace(passed(), outcome=Outcome.INTERRUPTED)
    assert faults(read(render_junit(stopped)))["run.lora-ci", "run"] == ("error", "interrupted")


def test_what_was_reused_took_no_time():
    view = make_view(*map(reused, (train_step(), qa_step())))
    assert {case.get("time") for case in read(render_junit(view)).iter("testcase")} == {"0.000"}


@pytest.mark.parametrize(
    "text", ["\x00\x08\x0b\x1b[31m", "\ufffe\uffff", "\ud800", "]]>", "🦊 𝕏 \u202e", "x" * 200_000]
)
def test_any_text_is_well_formed_and_bounded(text):
    details = qa_details([])
    for section in ("tests", "checks"):
        details[section] = [{**told, "name": text, "why": text} for told in details[section]]
    details["gates"] = [{**g, "metric": text, "outcome": "failed"} for g in details["gates"]] * 9
    finding = Finding(rule=text, severity=Severity.ERROR, message=text, hint=text, file=text)
    step = qa_step(f"mei{text}", details)
    findings = (finding,) * 1_000
    step = replace(step, result=replace(step.result, outcome=Outcome.FAILED, findings=findings))
    document = render_junit(make_view(step))
    assert len(document) < 400_000
    read(document)


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0, 1e300, 1e-9])
def test_times_are_what_the_schema_takes(seconds):
    step = train_step()
    step = replace(step, result=replace(step.result, timings_s={"total": seconds}))
    root = read(render_junit(replace(make_view(step), duration_s=seconds, started_at="soon")))
    assert root[0].get("timestamp") is None


def test_a_judgement_alone_needs_no_repository():
    step = qa_step(details=qa_details([]))
    view = make_view(step, head="", number=None)
    (suite,) = read(render_junit(view))
    told = {p.get("name"): p.get("value") for p in suite.iter("property")}
    assert "commit" not in told
    assert told["outcome"] == "passed"
    assert told[f"fingerprint.{Stage.QA}"] == step.decision.fingerprint.value
