"""The comment and the terminal text: what people reviewed, one screen, the verdict on top."""

from dataclasses import replace

import pytest

from lora_ci.core.plan import Action
from lora_ci.core.step import Outcome, Stage, StepResult
from lora_ci.report.comment import render_check, render_comment
from lora_ci.report.markdown import MAX_CHARACTERS
from lora_ci.report.release_notes import render_release_notes
from lora_ci.report.text import render_plan_text, render_run_text
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

REPORT = "https://example.org/report.html"


def without_qa():
    return make_view(
        validate_step("mei", errors=12),
        blocked_step("mei", Stage.TRAIN),
        validate_step("leo"),
        train_step("leo", Action.REUSE),
    )


def three_loras():
    failing = qa_step("kit", qa_details([], shift=-0.15))
    return make_view(
        *whole_chain("mei"),
        validate_step("kit"),
        train_step("kit"),
        failing,
        blocked_step("kit", Stage.OPTIMIZE, "qa failed in run 41"),
        validate_step("leo", errors=12),
        blocked_step("leo", Stage.TRAIN),
    )


def released():
    return make_view(*(reused(s) for s in whole_chain()), deploy_step(), tag="mei@v1.1.0")


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("comment-without-qa.md", without_qa),
        ("comment-judged.md", lambda: make_view(*whole_chain())),
        ("comment-three-loras.md", three_loras),
        ("comment-released.md", released),
    ],
)
def test_the_comment_is_what_people_reviewed(golden, name, make):
    grids = {lora: f"https://example.org/{lora}.png" for lora in ("mei", "kit")}
    golden(name, render_comment(make(), REPORT, grids))


def test_the_notes_of_a_release_are_what_people_reviewed(golden):
    golden("release-notes.md", render_release_notes(released(), "mei", REPORT))


def test_the_terminal_text_is_what_people_reviewed(golden):
    parts = []
    for view in (without_qa(), released()):
        parts += [render_plan_text(view.plan), render_run_text(view)]
    golden("text.txt", "\n\n".join(parts) + "\n")


def test_what_passed_is_folded_among_many_and_what_failed_is_open():
    comment = render_comment(three_loras())
    assert "<details><summary>✅ <b>mei</b>" in comment
    assert "<details open><summary>❌ <b>kit</b>" in comment
    assert "<details><summary>What ran and why" in comment


def test_a_test_that_could_not_be_measured_is_no_zero():
    details = qa_details([])
    details["tests"][1] |= {"score": None, "low": None, "high": None, "why": "no seeds"}
    details["overall"] = {"score": None, "low": None, "high": None, "pass_mark": 0.8}
    comment = render_comment(make_view(qa_step(details=details)))
    row = next(line for line in comment.splitlines() if "flexibility" in line)
    assert row.startswith("| ❔ |")
    assert "no seeds" in row
    assert "0.00" not in row
    assert "weakest: flexibility not measured" in render_run_text(
        make_view(qa_step(details=details))
    )


def test_the_check_of_a_lora_speaks_of_it_alone():
    check = render_check(three_loras(), "kit", REPORT, "https://example.org/kit.png")
    assert "failed qa" in check
    assert '<img src="https://example.org/kit.png"' in check
    assert "| kit | qa |" in check
    assert "mei" not in check
    assert "leo" not in check


def test_a_huge_run_is_cut_below_the_verdict_and_links_the_rest():
    steps = [validate_step(f"lora{i}", f"{i} " * 2_000, errors=10) for i in range(200)]
    comment = render_comment(make_view(*steps), REPORT)
    assert len(comment) <= MAX_CHARACTERS
    assert "❌ failed" in comment
    assert comment.endswith(f"… cut here: the [report]({REPORT}) has the rest.\n")


def test_a_run_of_nothing_says_why():
    finding = validate_step(errors=1, text="tag `x` names no LoRA").result.findings[0]
    empty = make_view(findings=(finding,))
    assert "tag `x` names no LoRA" in render_comment(empty)
    assert "nothing is to be done here" in render_comment(make_view())


def test_a_stage_that_ought_to_have_run_is_named():
    lost = replace(optimize_step(), result=None)
    view = make_view(lost)
    assert view.outcome is Outcome.ERROR
    assert "mei has no result of optimize" in render_comment(view)


def test_a_stage_that_broke_down_says_how():
    finding = validate_step(errors=1, text="qa of mei crashed: KeyError: 1").result.findings[0]
    result = StepResult(outcome=Outcome.ERROR, findings=(finding,))
    view = make_view(replace(qa_step(), result=result))
    assert "qa     ! error  qa of mei crashed: KeyError: 1" in render_run_text(view)
    assert "mei could not finish qa: qa of mei crashed" in render_comment(view)
