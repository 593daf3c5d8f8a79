"""How far a run is: never more than is known."""

import re
from dataclasses import replace

import pytest

from lora_ci.core.plan import Estimate
from lora_ci.core.step import Outcome, Progress, Stage
from lora_ci.plan.estimate import PRIOR
from lora_ci.report.comment import render_check, render_comment
from lora_ci.report.page import render_page
from lora_ci.report.progress import cost_to_go, is_guess, percent, progress_text
from lora_ci.report.reason import lora_outcome, lora_reason, reason, verdict
from lora_ci.report.text import render_run_text
from tests.situations import going_on, just_queued, training, training_queued
from tests.views import (
    PAST,
    blocked_step,
    make_view,
    priced,
    queued_step,
    reused,
    running_step,
    to_come,
    validate_step,
    whole_chain,
)


@pytest.mark.parametrize(
    ("done", "of", "expected"),
    [(0, 600, "0 %"), (599, 600, "99 %"), (600, 600, "100 %"), (700, 600, "100 %"), (7, 0, "")],
)
def test_a_step_is_full_only_once_all_is_done(done, of, expected):
    assert percent(Progress(done, of, "")) == expected


def test_an_unknown_total_is_not_made_up():
    step = running_step("mei", Stage.QA, 12, 0, "pictures")
    assert progress_text(step.progress) == "12 pictures"
    comment = render_comment(going_on(make_view(step)))
    assert "🔄 qa of **mei** 12 pictures" in comment
    assert "%" not in comment


def test_a_running_step_costs_what_is_left_of_it():
    step = running_step("mei", Stage.TRAIN, 300, 600, "")
    left = cost_to_go([step, to_come("mei", Stage.QA)])
    past, qa = PAST[Stage.TRAIN], PAST[Stage.QA]
    assert left.low == pytest.approx(past.low / 2 + qa.low)
    assert left.high == pytest.approx(past.high / 2 + qa.high)
    assert cost_to_go([validate_step()]) is None


def test_a_guess_is_no_forecast():
    guess = Estimate(low=0.1, high=9.0, basis=PRIOR)
    steps = (priced(queued_step("mei", Stage.TRAIN), guess), to_come("mei", Stage.QA))
    assert is_guess(cost_to_go(steps))
    comment = render_comment(going_on(make_view(*steps)))
    assert "to go" not in comment
    assert "a wide guess" in comment


def test_a_run_is_queued_until_something_was_done_for_it():
    assert verdict(just_queued()) == "⏳ queued"
    assert verdict(training_queued()) == "🔄 running"
    assert verdict(training()) == "🔄 running"


def test_a_lora_has_ended_when_nothing_of_it_is_to_come():
    view = going_on(
        make_view(
            validate_step("leo", errors=1),
            blocked_step("leo", Stage.TRAIN, "validate failed"),
            *training().of("mei"),
        )
    )
    assert lora_outcome(view, "leo") is Outcome.FAILED
    assert lora_outcome(view, "mei") is None
    assert lora_outcome(replace(view, outcome=Outcome.ERROR), "mei") is Outcome.ERROR
    comment = render_comment(view)
    assert "leo did not pass; train of mei runs" in comment
    assert "failed validate" in render_check(view, "leo")


def test_page_and_terminal_show_a_run_that_goes_on():
    page = render_page(training())
    assert "<title>lora-ci: running</title>" in page
    assert "train running 45 %" in page
    assert "None" not in page
    text = render_run_text(training())
    assert re.search(r"train +running 45 % +270 of 600, loss 0.2171\n", text)
    assert "… going on for 4 min 32 s" in text


def test_a_run_with_nothing_to_do_counts_no_stages():
    view = going_on(make_view(*(reused(step) for step in whole_chain())))
    assert reason(view) == "nothing is to run, the report comes next"


def test_what_a_signal_left_out_is_no_pass():
    steps = (validate_step("leo"), to_come("leo", Stage.TRAIN))
    view = replace(make_view(*whole_chain("mei"), *steps), outcome=Outcome.INTERRUPTED)
    assert lora_outcome(view, "mei") is Outcome.PASSED
    assert lora_outcome(view, "leo") is Outcome.INTERRUPTED
    assert lora_reason(view, "leo") == "was interrupted before train"
    assert "interrupted" in render_comment(view)
