"""Everything measured → the verdict and its findings. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lora_ci.core.finding import Finding, Severity
from lora_ci.core.step import Outcome
from lora_ci.qa.comparison import Comparison, not_worse
from lora_ci.qa.gates import Gate, check_gate
from lora_ci.qa.scores import PASS_MARK, Score, overall
from lora_ci.ruler.statistics import Interval

# What every adapter must hold; the config can ask for more, or for less.
CONDITIONS = {
    "overall": f">= {PASS_MARK:g}",
    "variety": ">= 0.3",
    "loss.against-base": "<= 0.1",
}
COPIED_SHARE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one round of pictures says. `metrics` holds what could be measured, and no more."""

    tests: tuple[Score, ...]
    metrics: Mapping[str, Interval | float]
    similarity: Mapping[str, Interval] | None = None
    difference: Interval | None = None
    comparison: Comparison | None = None
    problems: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How it came out, gate by gate."""

    outcome: Outcome
    overall: Interval | None
    gates: tuple[Gate, ...]
    findings: tuple[Finding, ...]


def judge(measured: Measured, conditions: Mapping[str, str]) -> Verdict:
    """One failed gate fails the adapter; else one that is not sure makes it inconclusive."""
    total = overall(measured.tests)
    values = dict(measured.metrics) | ({"overall": total} if total else {})
    # Where `overall` is unmeasured the verdict is so too: the others need not say it again.
    held = {m: c for m, c in CONDITIONS.items() if m == "overall" or m in values}
    gates = [check_gate(metric, c, values) for metric, c in {**held, **conditions}.items()]
    if measured.difference and measured.comparison:
        gates.append(not_worse(measured.difference, measured.comparison))
    outcomes = {gate.outcome for gate in gates}
    outcome = next(
        (o for o in (Outcome.FAILED, Outcome.INCONCLUSIVE) if o in outcomes), Outcome.PASSED
    )
    return Verdict(
        outcome=outcome,
        overall=total,
        gates=tuple(gates),
        findings=(*_about_gates(gates, measured.tests), *_about_measuring(measured)),
    )


def _about_gates(gates: Sequence[Gate], tests: Sequence[Score]) -> list[Finding]:
    findings = []
    for gate in gates:
        if gate.outcome is Outcome.PASSED:
            continue
        failed = gate.outcome is Outcome.FAILED
        why = gate.why
        if gate.metric == "overall":
            why += "; " + _weakest(tests)
        findings.append(
            Finding(
                rule="qa.gate-failed" if failed else "qa.gate-inconclusive",
                severity=Severity.ERROR if failed else Severity.WARNING,
                message=f"gate `{gate.metric} {gate.condition}` {gate.outcome}: {why}",
                hint="compare the pictures in the report with those of the references"
                if failed
                else "an unmeasured or unsure gate is no pass: see the report for what is missing",
            )
        )
    return findings


def _weakest(tests: Sequence[Score]) -> str:
    """The tests that hold the mean down."""
    absent = [t for t in tests if t.score is None]
    if absent:
        return "; ".join(f"{t.name}: {t.why}" for t in absent)
    low = min(tests, key=lambda t: t.score or 0.0)
    return f"weakest: {low.name} {low.score or 0.0:.2f} ({low.why})"


def _about_measuring(measured: Measured) -> list[Finding]:
    findings = [
        Finding(rule="qa.no-power", severity=Severity.WARNING, message=problem, hint=hint)
        for problem, hint in (
            (p, "give `qa.references` and an embedder that sees the concept (`qa.embedder`)")
            for p in measured.problems
        )
    ]
    copied = measured.metrics.get("memorization")
    if isinstance(copied, Interval) and copied.mean > COPIED_SHARE:
        findings.append(
            Finding(
                rule="qa.memorization",
                severity=Severity.WARNING,
                message=f"{copied.mean:.0%} of the pictures are nearer to a training picture than "
                "any reference is",
                hint="fewer images seen, or more training pictures",
            )
        )
    return findings
