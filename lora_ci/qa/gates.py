"""Conditions on metrics. What could not be measured, or not surely enough, is not a pass."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass

from lora_ci.core.errors import InputError
from lora_ci.core.step import Outcome
from lora_ci.ruler.statistics import Interval

CONDITION = re.compile(r"(?P<sign>>=|<=|>|<) *(?P<limit>-?\d+(\.\d+)?)")
SIGNS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A condition and how it came out."""

    metric: str
    condition: str
    value: float | None
    low: float | None
    high: float | None
    outcome: Outcome
    why: str


def check_gate(metric: str, condition: str, measured: Mapping[str, Interval | float]) -> Gate:
    """Passes if the whole interval holds, fails if none of it does, else is inconclusive."""
    match = CONDITION.fullmatch(condition.strip())
    if match is None:
        raise InputError(f'gate `{metric}: {condition}`: expected such as ">= 0.7"')
    found = measured.get(metric)
    if found is None:
        why = "could not be measured"
        if near := difflib.get_close_matches(metric, measured, n=3, cutoff=0.4):
            why += f"; near names that were: {', '.join(near)}"
        return _gate(metric, condition, None, Outcome.INCONCLUSIVE, why)
    value = (
        found if isinstance(found, Interval) else Interval(mean=found, low=found, high=found, n=1)
    )
    holds, limit = SIGNS[match["sign"]], float(match["limit"])
    if value.low is None or value.high is None:
        return _gate(metric, condition, value, Outcome.INCONCLUSIVE, "too little was measured")
    held = {bool(holds(end, limit)) for end in (value.low, value.high)}
    shown = f"{value.mean:.2f}, surely between {value.low:.2f} and {value.high:.2f}"
    if held == {True}:
        return _gate(metric, condition, value, Outcome.PASSED, shown)
    if held == {False}:
        return _gate(metric, condition, value, Outcome.FAILED, shown)
    why = f"{shown}: not sure enough; more `seeds` or prompts would tell"
    return _gate(metric, condition, value, Outcome.INCONCLUSIVE, why)


def _gate(metric: str, condition: str, value: Interval | None, outcome: Outcome, why: str) -> Gate:
    return Gate(
        metric=metric,
        condition=condition,
        value=value.mean if value else None,
        low=value.low if value else None,
        high=value.high if value else None,
        outcome=outcome,
        why=why,
    )
