"""One judgement for the terminal: verdict, scores as bars, what is not sound, how it got sure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lora_ci.core.run import RunView
from lora_ci.core.step import Outcome, Stage
from lora_ci.core.text import clean
from lora_ci.report.checks import figure, sort_checks, standing, stopping
from lora_ci.report.details import Overall, Score, read_details
from lora_ci.report.figures import between, number, plain
from lora_ci.report.markdown import meter
from lora_ci.report.text import outcome_text


def render_verdict_text(view: RunView) -> str:
    """The judgement of a run that has one step."""
    step = next(step for step in view.steps if step.decision.stage is Stage.QA)
    outcome = step.result.outcome if step.result else Outcome.ERROR
    head = f"{outcome_text(step)[0]}: {clean(step.decision.lora)}"
    found = read_details(Stage.QA, step.result)
    if not found.judged:
        return head
    total = found.overall or Overall()
    mean = Score(name="overall", score=total.score, low=total.low, high=total.high)
    lines = [head, "", *_rows((*found.tests, mean), total.pass_mark), ""]
    checks = sort_checks(found.checks)
    for check in (*checks.unsound, *(c for c in checks.unknown if c.value is not None)):
        sign, word = standing(check)
        told = "; ".join(filter(None, (figure(check), check.why)))
        lines.append(clean(f"{sign} {check.name} {word}: {told}"))
    if checks.sound:
        lines.append(f"✓ sound: {', '.join(clean(check.name) for check in checks.sound)}")
    if found.window and found.window.recommended is not None:
        lines.append(f"use it at weight {plain(found.window.recommended)}")
    lines += [f"? it would be settled by {clean(words)}" for words in found.settle]
    if stopped := stopping(found, outcome):
        lines.append(clean(stopped))
    return "\n".join(lines)


def _rows(tests: Sequence[Score], mark: float) -> Iterator[str]:
    """A bar for each test; what several were not measured for is told once."""
    told: dict[str, str] = {}
    for test in tests:
        first = told.setdefault(test.why, test.name)
        same = test.score is None and first != test.name
        yield _row(replace(test, why=f"as {first}") if same and test.why else test, mark)


def _row(test: Score, mark: float) -> str:
    if test.score is None:
        return clean(f"  {test.name:<12} {'·' * 10}  –    {test.why}").rstrip()
    sign = " " if test.score >= mark else "!"
    ends = between(test.low, test.high)
    return clean(
        f"{sign} {test.name:<12} {meter(test.score)} {number(test.score)}  {ends}"
    ).rstrip()
