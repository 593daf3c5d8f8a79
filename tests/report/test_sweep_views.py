"""What came of a matrix, wherever it is shown."""

from dataclasses import replace

import pytest

from lora_ci.core.plan import Plan
from lora_ci.report.comment import render_comment
from lora_ci.report.page import render_page
from lora_ci.report.plan_comment import render_plan_markdown
from lora_ci.report.sweep_page import sweep_section
from lora_ci.report.sweep_text import render_sweep_text, value_text
from lora_ci.report.text import render_plan_text
from tests.situations import matrix


def test_the_terminal_and_the_page_are_what_people_reviewed(golden):
    view = matrix()
    (sweep,) = view.sweeps
    golden("sweep.txt", render_sweep_text(sweep) + "\n")
    golden("sweep-section.html", sweep_section(sweep, view.plan).replace("><", ">\n<") + "\n")


def test_a_plan_says_what_a_matrix_comes_to_and_which_rule_saved_what():
    plan = matrix().plan
    for told in (render_plan_text(plan), render_plan_markdown(plan)):
        assert "12 configurations, 4 trainings" in told
        assert "8 fewer: a longer budget continues the training of a shorter one" in told
    (sharing,) = plan.sharing
    apart = replace(plan, sharing=(replace(sharing, apart="the schedule looks at the budget"),))
    assert "no longer budget continues a shorter one: the schedule" in render_plan_text(apart)
    assert "configurations" not in render_plan_text(
        Plan(head=plan.head, decisions=plan.decisions, changes=plan.changes)
    )


def test_the_page_has_a_chart_for_each_key_and_every_configuration():
    page = render_page(matrix())
    for key in ("rank", "optimizer", "epochs"):
        assert f"<h3>{key}</h3>" in page
    assert "overall by budget" in page
    assert page.count('<td data-of="verdict">') == 12


def test_the_comment_shows_the_scores_of_the_best_alone():
    comment = render_comment(matrix())
    assert comment.count("<summary>Scores of") == 1
    assert "Scores of <b>mei.rank-32.optimizer-adamw.epochs-20" in comment
    # Those that did not pass are what a matrix is for; the report has their findings.
    assert "gate `overall" not in comment


def test_where_none_was_measured_that_is_said_and_findings_are_shown():
    view = matrix()
    (sweep,) = view.sweeps
    lost = tuple(replace(s, score=None, low=None, high=None) for s in sweep.standings)
    none = replace(
        sweep, standings=lost, best=None, why="none could be measured",
        suggestion=None, unsuggested="none passed",
    )  # fmt: skip
    view = replace(view, sweeps=(none,))
    assert "no best: none could be measured" in render_sweep_text(none)
    comment = render_comment(view)
    assert "No change of the config is suggested: none passed" in comment
    assert "gate `overall" in comment
    assert "0.00" not in comment
    assert "by budget" not in render_page(view)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-5, "1e-5"),
        (0.00015, "1.5e-4"),
        (0.01, "0.01"),
        (16.0, "16"),
        (16, "16"),
        (True, "true"),
        (None, "null"),
        ("adamw", "adamw"),
        (("a", "b"), '["a", "b"]'),
    ],
)
def test_values_read_as_they_are_written(value, text):
    assert value_text(value) == text
