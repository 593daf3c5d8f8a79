"""Everything measured → the verdict and its findings. Pure.

An adapter passes if every gate holds. Luck can pass a bad one only by getting past the very gate
that ought to stop it, so each gate may err as much as the whole may (an intersection-union test:
Berger, Technometrics 24 (1982), 295-300). It fails if any gate surely does not hold: there every
gate is a chance to err, so each has its share (Bonferroni): half is that of `overall`, which speaks
for five tests, the other half is the others'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lora_ci.core.finding import Finding, Severity
from lora_ci.core.metrics import FIVE_TESTS, OVERALL, TEST
from lora_ci.core.step import Outcome
from lora_ci.qa.gates import Errors, Gate, check_gate
from lora_ci.qa.reading import Limit, Measure, Reading
from lora_ci.qa.scores import PASS_MARK, Overall
from lora_ci.ruler.statistics import Estimate

Readings = Mapping[str, Reading]

# A warning may be wrong as often.
WARNING_ERRORS = Errors(passing=0.025, failing=0.025)
# Metrics that no generated picture has a part in.
OF_REFERENCES = "loss."
LOOK = "compare the pictures in the report with those of the references"
NEVER = "next: take the gate out of `qa.gates`, or what would measure it out of `qa.skip`"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A test beside the five: `sound` is None where it was not measured or is not sure."""

    name: str
    metric: str
    sound: bool | None
    skipped: bool
    value: float | None
    low: float | None
    high: float | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How it came out, gate by gate. `settle`: what would make an inconclusive one sure."""

    outcome: Outcome
    overall: Overall | None
    metrics: Mapping[str, Estimate]
    gates: tuple[Gate, ...]
    checks: tuple[Check, ...]
    findings: tuple[Finding, ...]
    settle: tuple[str, ...]

    @property
    def unsure(self) -> bool:
        """True if only sureness is lacking that more pictures may bring, and no gate failed."""
        open_ones = [g for g in self.gates if g.outcome is Outcome.INCONCLUSIVE]
        return self.outcome is Outcome.INCONCLUSIVE and all(
            g.value is not None and not g.metric.startswith(OF_REFERENCES) for g in open_ones
        )


def judge(
    measures: Sequence[Measure],
    readings: Readings,
    conditions: Mapping[str, str],
    error: float,
    *,
    whole: float | None = None,
) -> Verdict:
    """The verdict on what was read; a measure without a reading was turned off.

    `conditions` are the config's, in place of a limit on the same metric or beside them. `error`
    bounds the chance of passing what a gate should stop, and that of failing a sound adapter, at
    this look. `whole` is that of all looks, where there are others: losses are the same at each, so
    they are judged once and for all.
    """
    metrics, total = _metrics(measures, readings)
    limits = _gates(measures, readings, metrics) | dict(conditions)
    gates = tuple(
        check_gate(
            metric,
            condition,
            metrics,
            _errors(
                metric, limits, (whole or error) if metric.startswith(OF_REFERENCES) else error
            ),
            lacking=_lacking(metric, measures, readings),
            off=_never(metric, measures, readings),
        )
        for metric, condition in limits.items()
    )
    outcomes = {gate.outcome for gate in gates}
    outcome = next(
        (o for o in (Outcome.FAILED, Outcome.INCONCLUSIVE) if o in outcomes), Outcome.PASSED
    )
    told = _limits(measures)
    return Verdict(
        outcome=outcome,
        overall=total,
        metrics=metrics,
        gates=gates,
        checks=tuple(_check(m, readings.get(m.name), metrics) for m in measures if not _scored(m)),
        findings=(
            *(
                _about(gate, told.get(gate.metric), readings, _settling(gate, measures, readings))
                for gate in gates
                if gate.outcome is not Outcome.PASSED
            ),
            *_warnings(measures, metrics, {gate.metric for gate in gates}),
        ),
        settle=_settle(gates, measures, readings) if outcome is Outcome.INCONCLUSIVE else (),
    )


def _errors(metric: str, limits: Mapping[str, str], error: float) -> Errors:
    """The part of the error that a gate may spend."""
    others = len(limits) - 1
    share = 1 if not others else 1 / 2 if metric == OVERALL else 1 / (2 * others)
    return Errors(passing=error, failing=share * error)


def _metrics(
    measures: Sequence[Measure], readings: Readings
) -> tuple[dict[str, Estimate], Overall | None]:
    """All that was measured, the scores and their mean among it."""
    metrics: dict[str, Estimate] = {}
    for reading in readings.values():
        metrics |= reading.metrics
    scores = [readings[m.name].score for m in measures if _scored(m)]
    known = [score for score in scores if score is not None]
    metrics |= {f"{TEST}{score.name}": score for score in known}
    total = Overall(scores=known) if len(known) == len(scores) else None
    return metrics | ({OVERALL: total} if total else {}), total


def _gates(
    measures: Sequence[Measure], readings: Readings, metrics: Mapping[str, Estimate]
) -> dict[str, str]:
    """What every adapter must hold, where it was measured, or ought to have been.

    Where `overall` is unmeasured the verdict is so too: the others need not say it again.
    """
    owed = {metric for reading in readings.values() for metric in reading.owed}
    judged = metrics.keys() | (owed if OVERALL in metrics else set())
    own = {
        metric: limit.condition
        for metric, limit in _limits(measures).items()
        if limit.gate and metric in judged
    }
    return {OVERALL: f">= {PASS_MARK:g}"} | own


def _limits(measures: Sequence[Measure]) -> dict[str, Limit]:
    return {metric: limit for m in measures for metric, limit in m.limits.items()}


def _scored(measure: Measure) -> bool:
    """True for the five tests."""
    return measure.name in FIVE_TESTS


def _owner(metric: str, measures: Sequence[Measure]) -> Measure | None:
    """The test that measures a metric."""
    name = metric.removeprefix(TEST)
    return next((m for m in measures if metric in m.metrics or m.name == name), None)


def _lacking(metric: str, measures: Sequence[Measure], readings: Readings) -> str:
    """Why a metric was not measured."""
    if metric == OVERALL:
        absent: dict[str, list[str]] = {}
        for name in (m.name for m in measures if _scored(m) and readings[m.name].score is None):
            absent.setdefault(readings[name].lacking, []).append(name)
        return "; ".join(f"{', '.join(names)}: {why}" for why, names in absent.items())
    owner = _owner(metric, measures)
    if owner is None:
        return ""
    if owner.name not in readings:
        return f"`qa.skip` turns the test `{owner.name}` off"
    return readings[owner.name].lacking


def _never(metric: str, measures: Sequence[Measure], readings: Readings) -> bool:
    """True if no picture could ever measure it: turned off, or nothing is called so."""
    if metric == OVERALL:
        return False
    owner = _owner(metric, measures)
    return owner is None or owner.name not in readings


def _about(gate: Gate, limit: Limit | None, readings: Readings, settling: Sequence[str]) -> Finding:
    """What a gate that does not hold is told with."""
    failed = gate.outcome is Outcome.FAILED
    why = gate.why
    if gate.metric == OVERALL and gate.value is not None:
        why += "; " + _weakest(readings)
    if failed and limit and gate.value is not None:
        why = f"{limit.fault} ({why})"
    of_limit = limit.hint if limit else LOOK
    hint = NEVER if failed and gate.value is None else of_limit
    return Finding(
        rule="qa.gate-failed" if failed else "qa.gate-inconclusive",
        severity=Severity.ERROR if failed else Severity.WARNING,
        message=f"gate `{gate.metric} {gate.condition}` {gate.outcome}: {why}",
        hint=hint if failed else "no pass; what would settle it: " + ("; ".join(settling) or LOOK),
    )


def _weakest(readings: Readings) -> str:
    """The test that holds the mean down."""
    scores = [reading.score for reading in readings.values() if reading.score]
    low = min(scores, key=lambda score: score.mean)
    return f"weakest: {low.name} {low.mean:.2f} ({low.why})"


def _warnings(
    measures: Sequence[Measure], metrics: Mapping[str, Estimate], gated: set[str]
) -> list[Finding]:
    """What surely does not hold and is no gate: the faults that a person should know of."""
    found = []
    for measure in measures:
        for metric, limit in measure.limits.items():
            if metric not in metrics or metric in gated:
                continue
            gate = check_gate(metric, limit.condition, metrics, WARNING_ERRORS)
            if gate.outcome is Outcome.FAILED:
                found.append(
                    Finding(
                        rule=f"qa.{measure.name}",
                        severity=Severity.WARNING,
                        message=f"{limit.fault}: `{metric}` is {gate.why}, "
                        f"expected {limit.condition}",
                        hint=limit.hint,
                    )
                )
    return found


def _check(measure: Measure, reading: Reading | None, metrics: Mapping[str, Estimate]) -> Check:
    """How a further test came out; the worst of its limits speaks for it."""
    gates = {
        metric: check_gate(metric, limit.condition, metrics, WARNING_ERRORS)
        for metric, limit in measure.limits.items()
        if reading and metric in metrics
    }
    main = next(iter(measure.limits), "")
    nothing = Check(
        name=measure.name,
        metric=main,
        sound=None,
        skipped=reading is None,
        value=None,
        low=None,
        high=None,
        why="turned off by `qa.skip`" if reading is None else reading.lacking,
    )
    if reading is None or not gates:
        return nothing
    order = (Outcome.FAILED, Outcome.INCONCLUSIVE, Outcome.PASSED)
    worst = min(gates.values(), key=lambda gate: order.index(gate.outcome))
    return replace(
        nothing,
        metric=worst.metric,
        sound={Outcome.PASSED: True, Outcome.FAILED: False}.get(worst.outcome),
        value=worst.value,
        low=worst.low,
        high=worst.high,
        why=reading.why,
    )


def _settle(
    gates: Sequence[Gate], measures: Sequence[Measure], readings: Readings
) -> tuple[str, ...]:
    """What would make an inconclusive verdict sure, most telling first."""
    open_ones = (gate for gate in gates if gate.outcome is Outcome.INCONCLUSIVE)
    told = (text for gate in open_ones for text in _settling(gate, measures, readings))
    return tuple(dict.fromkeys(told))


def _settling(gate: Gate, measures: Sequence[Measure], readings: Readings) -> tuple[str, ...]:
    """What would make a gate sure."""
    if gate.value is not None and gate.metric.startswith(OF_REFERENCES):
        return (f"`{gate.metric}`: more references (`qa.references`) make its interval narrower",)
    if gate.value is not None:
        return (
            f"`{gate.metric}`: more prompts (`qa.prompts`), more seeds (`qa.seeds`) or more "
            "references (`qa.references`) make its interval narrower",
        )
    asked: tuple[Measure | None, ...] = (_owner(gate.metric, measures),)
    if gate.metric == OVERALL:
        asked = tuple(m for m in measures if _scored(m) and not readings[m.name].score)
    lacking = (readings[m.name] for m in asked if m and m.name in readings)
    return tuple(dict.fromkeys(reading.settle for reading in lacking if reading.settle))
