"""What is printed for people is one printable line each, whatever it is made of."""

import io
import itertools
import json
import sys

import pytest

from lora_ci.cli import output as output_module
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


class Terminal(io.StringIO):
    """Where people look."""

    def isatty(self) -> bool:
        return True


def test_steps_that_go_on_at_once_are_all_told(capsys):
    output = Output(json=False, quiet=False)
    for done in (1, 2):
        for lora in ("mei", "ana"):
            output.watch(lora, Stage.TRAIN, done, 30, "")
    assert capsys.readouterr().err == "train mei 1/30 \ntrain ana 1/30 \n"


def test_bars_take_turns_and_a_full_one_is_drawn_once(monkeypatch):
    now = 100.0
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setattr(output_module.time, "monotonic", lambda: now)
    output, drawn = Output(json=False, quiet=False), ""
    for done in range(50):
        now += 0.2
        for lora in ("mei", "ana"):
            before = len(terminal.getvalue())
            output.watch(lora, Stage.TRAIN, done, 100, "")
            drawn += lora[0] if len(terminal.getvalue()) > before else ""
    turns = [len(list(group)) for _, group in itertools.groupby(drawn)]
    assert set(drawn) == {"m", "a"}
    assert max(turns) < 15
    for _ in range(3):
        now += 0.2
        output.watch("mei", Stage.TRAIN, 100, 100, "")
    assert terminal.getvalue().count("100/100") == 1


@pytest.mark.parametrize("columns", [20, 60, 80, 200])
def test_a_bar_never_wraps(monkeypatch, columns):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("COLUMNS", str(columns))
    output = Output(json=False, quiet=False)
    output.watch("mei", Stage.TRAIN, 866, 1000, "loss 0.1542, 10 s left")
    (line,) = terminal.getvalue().split("\r\033[K")[1:]
    assert len(line) < columns
    assert line.endswith("866/1000 loss 0.1542, 10 s left") == (columns > 60)


def test_json_holds_what_was_said(capsys):
    Output(json=True, quiet=False).error(UsageError("x", findings=(FINDING,)))
    assert json.loads(capsys.readouterr().out)["findings"][0]["message"] == HOSTILE
