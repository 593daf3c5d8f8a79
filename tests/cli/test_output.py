"""What is printed for people is one printable line each, whatever it is made of."""

import json

from lora_ci.cli import status
from lora_ci.cli.main import main
from lora_ci.cli.output import Output
from lora_ci.cli.run import show_findings
from lora_ci.core.errors import ExitCode, UsageError
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.plan import Action
from lora_ci.core.run import StepView
from lora_ci.core.step import Outcome, Stage, StepResult
from tests.views import make_decision

HOSTILE = "a\n::error::pwn \x1b[2J \0"
SHOWN = "a�::error::pwn �[2J �"
FINDING = Finding(
    rule="a.b", severity=Severity.ERROR, message=HOSTILE, file=HOSTILE, line=3, hint=HOSTILE
)


def test_a_finding_is_two_lines(capsys):
    Output(json=False, quiet=False).findings([FINDING])
    told = capsys.readouterr().err
    assert told == f"error: {SHOWN}:3: {SHOWN} [a.b]\n  → {SHOWN}\n"


def test_what_a_training_warns_of_is_told_once(capsys):
    warning = Finding(rule="train.less-memory", severity=Severity.WARNING, message="slower")
    result = StepResult(outcome=Outcome.PASSED, findings=(warning,))
    told = {}
    for stage, action in (
        (Stage.TRAIN, Action.RUN), (Stage.TRAIN, Action.REUSE), (Stage.VALIDATE, Action.RUN)
    ):  # fmt: skip
        step = StepView(decision=make_decision("mei", stage, action), result=result)
        show_findings(step, Output(json=False, quiet=False))
        told[stage, action] = capsys.readouterr().err
    assert told.pop((Stage.TRAIN, Action.RUN)).endswith("warning: slower [train.less-memory]\n")
    assert set(told.values()) == {""}


def test_notes_keep_their_lines_and_nothing_else(capsys):
    Output(json=False, quiet=False).note("one\ntwo \x1b[2J\0")
    assert capsys.readouterr().err == "one\ntwo �[2J�\n"


def test_a_bug_is_told_however_quiet_it_is_to_be(capsys, monkeypatch):
    def broken(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(status, "run", broken)
    assert main(["status", "--quiet"]) == ExitCode.INFRASTRUCTURE
    told = capsys.readouterr().err
    assert "RuntimeError: a bug" in told
    assert "please report it" in told


def test_progress_is_one_line(capsys):
    Output(json=False, quiet=False).progress("a\n::error::", 1, 2, "\x1b[2J")
    assert capsys.readouterr().err == "a�::error:: 1/2 �[2J\n"


def test_json_holds_what_was_said(capsys):
    Output(json=True, quiet=False).error(UsageError("x", findings=(FINDING,)))
    assert json.loads(capsys.readouterr().out)["findings"][0]["message"] == HOSTILE
