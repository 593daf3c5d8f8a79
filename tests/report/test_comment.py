"""The comment and the terminal text: what people reviewed, one screen, the verdict on top."""

from dataclasses import replace

import pytest

from lora_ci.core.plan import Action
from lora_ci.core.step import Outcome, Stage, StepResult
from lora_ci.report.comment import MARKER, render_check, render_comment
from lora_ci.report.markdown import MAX_CHARACTERS
from lora_ci.report.overview import SHOWN_LORAS
from lora_ci.report.reason import lora_reason
from lora_ci.report.text import render_plan_text, render_run_text
from tests.situations import COMMENTS, OTHERS, REPORT, several
from tests.views import (
    blocked_step,
    deploy_step,
    make_view,
    optimize_step,
    qa_details,
    qa_step,
    reused,
    train_step,
    validate_step,
    whole_chain,
)


def without_qa():
    return make_view(
        validate_step("mei", errors=12),
        blocked_step("mei", Stage.TRAIN),
        validate_step("leo"),
        train_step("leo", Action.REUSE),
    )


def released():
    return make_view(*(reused(s) for s in whole_chain()), deploy_step(), tag="mei@v1.1.0")


@pytest.mark.parametrize("name", [n for n in COMMENTS | OTHERS if n != "beyond-the-limit"])
def test_each_situation_reads_as_people_reviewed_it(golden, name):
    golden(f"comment-{name}.md", (COMMENTS | OTHERS)[name]())


def test_the_terminal_text_is_what_people_reviewed(golden):
    parts = []
    for view in (without_qa(), released()):
        parts += [render_plan_text(view.plan), render_run_text(view)]
    golden("text.txt", "\n\n".join(parts) + "\n")


def test_of_many_loras_those_that_nothing_happened_to_are_folded():
    shown, folded = COMMENTS["many-loras"]().split("more LoRAs</summary>", 1)
    rows = [line for line in shown.splitlines() if line.startswith(("| ✅", "| ❌"))]
    assert len(rows) == SHOWN_LORAS
    assert "❌\u00a0character\\-07" in "".join(rows)
    assert not any("♻️" in row for row in rows)
    assert "✅\u00a0character\\-00" in folded


def test_scores_are_folded_and_open_where_they_decided():
    assert "<details><summary>Scores of <b>mei</b>: 0.89" in COMMENTS["passed"]()
    assert "<details open><summary>Scores of <b>mei</b>: 0.74" in COMMENTS["failed-gate"]()


def test_a_test_that_could_not_be_measured_is_no_zero():
    details = qa_details([])
    details["tests"][1] |= {"score": None, "low": None, "high": None, "why": "no seeds"}
    details["overall"] = {"score": None, "low": None, "high": None, "pass_mark": 0.8}
    comment = render_comment(make_view(qa_step(details=details)))
    row = next(line for line in comment.splitlines() if line.startswith("| ❔ | flexibility"))
    assert "0.00" not in row
    assert "- ❔ flexibility: no seeds" in comment
    assert "weakest: flexibility not measured" in render_run_text(
        make_view(qa_step(details=details))
    )


def test_the_check_of_a_lora_speaks_of_it_alone():
    check = render_check(several(), "kit", REPORT, "https://example.org/kit.png")
    assert "failed qa" in check
    assert '<img src="https://example.org/kit.png"' in check
    assert "| kit | qa |" in check
    assert "mei" not in check
    assert "leo" not in check


def test_a_huge_run_is_cut_between_the_verdict_and_the_way_to_more():
    comment = COMMENTS["beyond-the-limit"]()
    assert len(comment) <= MAX_CHARACTERS
    assert comment.startswith(f"{MARKER}\n### lora-ci: ❌ failed\n")
    assert f"… cut here: the [report]({REPORT}) has the rest.\n" in comment
    assert comment.endswith("more: comment `/lora-ci help`</small>\n")


def test_a_run_of_nothing_says_why():
    finding = validate_step(errors=1, text="tag `x` names no LoRA").result.findings[0]
    empty = make_view(findings=(finding,))
    assert "tag `x` names no LoRA" in render_comment(empty)
    assert "nothing is to be done here" in render_comment(make_view())
    assert render_run_text(empty).startswith("✓ passed in")
    assert render_plan_text(empty.plan) == "nothing to run"


def test_a_stage_that_ought_to_have_run_is_named():
    lost = replace(optimize_step(), result=None)
    view = make_view(lost)
    assert view.outcome is Outcome.ERROR
    told = "mei has no result of optimize: what was to make one left none"
    assert told in render_comment(view)


def test_a_stage_that_broke_down_says_how():
    finding = validate_step(errors=1, text="qa of mei crashed: KeyError: 1").result.findings[0]
    result = StepResult(outcome=Outcome.ERROR, findings=(finding,))
    view = make_view(replace(qa_step(), result=result))
    assert "qa     ! error  qa of mei crashed: KeyError: 1" in render_run_text(view)
    assert "mei could not finish qa: qa of mei crashed" in render_comment(view)


def test_a_release_that_did_not_happen_is_called_that():
    why = "qa inconclusive in run 41"
    blocked = (blocked_step("mei", stage, why) for stage in (Stage.OPTIMIZE, Stage.DEPLOY))
    view = make_view(validate_step(), train_step(), *blocked)
    assert lora_reason(view, "mei") == f"is not released: {why}"
