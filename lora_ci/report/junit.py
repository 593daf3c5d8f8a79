"""A run as JUnit XML, for CI systems that show tests: a suite a LoRA, a case a stage, gate, check.

What is not sure, blocked or lost is a failure, as "skipped" is shown as harmless: only a test that
the config turned off is skipped. A run that did not pass has a failure or an error.
Source of the structure: junit-10.xsd of Jenkins' xunit plugin.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

from lora_ci.core.finding import Finding, Severity
from lora_ci.core.plan import Action
from lora_ci.core.run import RunView, StepView
from lora_ci.core.step import Outcome, Stage, StepResult
from lora_ci.core.text import clean
from lora_ci.report.checks import documentation, figure, sort_checks, standing, stopping
from lora_ci.report.details import Check, Details, Gate, read_details
from lora_ci.report.figures import between, number, shorten
from lora_ci.report.overview import took_s
from lora_ci.report.reason import lora_outcome, lora_reason, reason
from lora_ci.report.text import outcome_text, stage_words

MOST_WORDS = 1_000
MOST_NAME = 200
MOST_LINES = 200
MOST_CASES = 500
MOST_SECONDS = 1e9
SECOND = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)")
UNKNOWN = "not measured"
OURS = (Outcome.ERROR, Outcome.INTERRUPTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a case is not a pass; `tag` is `failure`, `error` or `skipped`."""

    tag: str
    kind: str
    message: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One test case; `lines` are what it prints."""

    group: str
    name: str
    seconds: float = 0.0
    fault: Fault | None = None
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """The cases of one LoRA."""

    name: str
    cases: tuple[Case, ...]
    properties: tuple[tuple[str, str], ...] = field(default=())

    def count(self, tag: str) -> int:
        """How many cases have a fault of that tag."""
        return sum(case.fault is not None and case.fault.tag == tag for case in self.cases)


def render_junit(view: RunView) -> str:
    """The whole document."""
    suites = [_suite(view, lora) for lora in view.loras()]
    errors = [f for f in view.plan.findings if f.severity is Severity.ERROR]
    if errors:
        suites.insert(0, _alone("config and inputs", "read", _failed("failed", errors)))
    red = any(suite.count(tag) for suite in suites for tag in ("failure", "error"))
    if view.outcome is not Outcome.PASSED and not red:
        kind = view.outcome or "going-on"
        tag = "error" if kind in OURS else "failure"
        suites.append(_alone("run", "run", Fault(tag=tag, kind=kind, message=reason(view))))
    counts = {
        "tests": sum(len(suite.cases) for suite in suites),
        "failures": sum(suite.count("failure") for suite in suites),
        "errors": sum(suite.count("error") for suite in suites),
    }
    told = "".join(f" {name}={quoteattr(str(count))}" for name, count in counts.items())
    when = match[1] if (match := SECOND.match(view.started_at)) else ""
    body = "".join(_render_suite(suite, when) for suite in suites)
    head = f'<testsuites name="lora-ci" time="{_seconds(view.duration_s)}"{told}>'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}\n{body}</testsuites>\n'


def _alone(name: str, case: str, fault: Fault) -> Suite:
    return Suite(name=name, cases=(Case(group="lora-ci", name=case, fault=fault),))


def _suite(view: RunView, lora: str) -> Suite:
    steps = view.whole(lora)
    cases: list[Case] = []
    for step in steps:
        cases.append(_stage_case(step))
        if step.decision.stage is Stage.QA and step.result:
            cases += _judged(read_details(Stage.QA, step.result))
    properties = [
        ("outcome", str(lora_outcome(view, lora) or "going on")),
        ("reason", lora_reason(view, lora)),
        ("run", view.run_id),
        ("commit", view.event.head),
    ]
    properties += [
        (f"fingerprint.{stage_words(step.decision)}", step.decision.fingerprint.value)
        for step in steps
        if step.decision.fingerprint
    ]
    return Suite(
        name=lora, cases=tuple(cases), properties=tuple((n, v) for n, v in properties if v)
    )


def _stage_case(step: StepView) -> Case:
    decision, result = step.decision, step.result
    return Case(
        group="stage",
        name=stage_words(decision),
        seconds=took_s(step),
        fault=_stage_fault(step),
        lines=(*outcome_text(step), *(_scores(decision.stage, result) if result else ())),
    )


def _stage_fault(step: StepView) -> Fault | None:
    decision, result = step.decision, step.result
    if result is None:
        if decision.action is Action.RUN:
            return Fault(tag="error", kind="lost", message=f"left no result: {decision.why}")
        kind = "blocked" if decision.action is Action.BLOCKED else "not-run"
        return Fault(tag="failure", kind=kind, message=decision.why)
    match result.outcome:
        case Outcome.PASSED:
            return None
        case Outcome.ERROR | Outcome.INTERRUPTED:
            return _failed(result.outcome, result.findings, tag="error")
        case Outcome.FAILED | Outcome.INCONCLUSIVE:
            return _failed(result.outcome, result.findings)


def _failed(kind: str, findings: Iterable[Finding], tag: str = "failure") -> Fault:
    """A fault that says what the findings say; the first one in a line."""
    told = [finding for finding in findings if finding.severity is not Severity.INFO]
    told.sort(key=lambda finding: finding.severity is not Severity.ERROR)
    lines = []
    for finding in told[:MOST_LINES]:
        where = f"{finding.location()}: " if finding.location() else ""
        hint = f" → {finding.hint}" if finding.hint else ""
        lines.append(f"{finding.severity}: {where}{finding.message} [{finding.rule}]{hint}")
    if len(told) > MOST_LINES:
        lines.append(f"… and {len(told) - MOST_LINES} more")
    message = told[0].message if told else kind
    return Fault(tag=tag, kind=kind, message=message, lines=tuple(lines))


def _judged(qa: Details) -> Iterator[Case]:
    yield from map(_gate_case, qa.gates[:MOST_CASES])
    checks = sort_checks(qa.checks[:MOST_CASES])
    yield from map(_check_case, (*checks.unsound, *checks.sound, *checks.skipped))


def _gate_case(gate: Gate) -> Case:
    name = f"{gate.metric} {gate.condition}"
    ends = between(gate.low, gate.high)
    told = f"{number(gate.value)}{f' ({ends})' if ends else ''}: {gate.why or gate.outcome}"
    if gate.outcome is Outcome.PASSED:
        return Case(group="gate", name=name, lines=(told,))
    tag = "error" if gate.outcome in OURS else "failure"
    fault = Fault(tag=tag, kind=gate.outcome, message=told)
    return Case(group="gate", name=name, fault=fault)


def _check_case(check: Check) -> Case:
    told = ": ".join(filter(None, (figure(check), check.why)))
    fault = None
    if check.skipped:
        fault = Fault(tag="skipped", kind="skipped", message=check.why or "turned off (qa.skip)")
    elif not check.sound:
        page = documentation(check)
        lines = (f"see {page}",) if page else ()
        fault = Fault(tag="failure", kind="not-sound", message=told or "not sound", lines=lines)
    return Case(group="check", name=check.name, fault=fault, lines=() if fault else (told,))


def _scores(stage: Stage, result: StepResult) -> Iterator[str]:
    """The five tests, and what was not measured: neither is a pass or a failure by itself."""
    found = read_details(stage, result)
    for test in found.tests[:MOST_LINES]:
        ends = between(test.low, test.high)
        score = UNKNOWN if test.score is None else number(test.score)
        why = test.why.removeprefix(f"{UNKNOWN}: ")
        yield f"{test.name} {score}{f' ({ends})' if ends else ''}: {why}"
    for check in sort_checks(found.checks[:MOST_LINES]).unknown:
        why = ": ".join(filter(None, (figure(check), check.why)))
        yield f"{check.name} {standing(check)[1]}: {why}"
    yield stopping(found, result.outcome)


def _render_suite(suite: Suite, when: str) -> str:
    counts = {
        "tests": len(suite.cases),
        "failures": suite.count("failure"),
        "errors": suite.count("error"),
        "skipped": suite.count("skipped"),
    }
    told = "".join(f" {name}={quoteattr(str(count))}" for name, count in counts.items())
    told += f' timestamp="{when}"' if when else ""
    properties = "".join(
        f"<property name={_attribute(name, MOST_NAME)} value={_attribute(value, MOST_WORDS)}/>\n"
        for name, value in suite.properties
    )
    if properties:
        properties = f"<properties>\n{properties}</properties>\n"
    took = _seconds(sum(case.seconds for case in suite.cases))
    cases = "".join(_render_case(case, suite.name) for case in suite.cases)
    head = f'<testsuite name={_attribute(suite.name, MOST_NAME)} time="{took}"{told}>'
    return f"{head}\n{properties}{cases}</testsuite>\n"


def _render_case(case: Case, suite: str) -> str:
    inner = _render_fault(case.fault) if case.fault else ""
    if printed := _lines(case.lines):
        inner += f"<system-out>{printed}</system-out>\n"
    # What CI systems make a tree of: dots part its levels.
    group = f"{suite.replace('.', '_')}.{case.group}"
    return (
        f"<testcase classname={_attribute(group, MOST_NAME)} "
        f'name={_attribute(case.name, MOST_NAME)} time="{_seconds(case.seconds)}">\n'
        f"{inner}</testcase>\n"
    )


def _render_fault(fault: Fault) -> str:
    kind, message = _attribute(fault.kind, MOST_NAME), _attribute(fault.message, MOST_WORDS)
    body = _lines(fault.lines)
    return f"<{fault.tag} type={kind} message={message}>{body}</{fault.tag}>\n"


def _attribute(text: str, most: int) -> str:
    return quoteattr(clean(shorten(text, most)))


def _lines(lines: Sequence[str]) -> str:
    """Foreign text as characters that XML 1.0 allows, a line each."""
    return escape("\n".join(clean(shorten(line, MOST_WORDS)) for line in lines if line))


def _seconds(value: float) -> str:
    """`12.345`, as the schema wants it: no sign, no exponent, three digits."""
    return f"{min(max(value, 0.0), MOST_SECONDS):.3f}" if math.isfinite(value) else "0.000"
