"""Conditions on metrics, decided with a stated chance of error. What is not measured is no pass."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lora_ci.core.errors import InputError
from lora_ci.core.step import Outcome
from lora_ci.ruler.statistics import Estimate, Interval, bound

CONDITION = re.compile(r"(?P<sign>>=|<=|>|<) *(?P<limit>-?\d+(\.\d+)?)", re.ASCII)
SIGNS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}

Side = Literal["low", "high"]
ENDS: Mapping[Side, str] = {"low": "at least", "high": "at most"}
# The end of an interval that speaks against a condition, and the one that speaks for it.
BETTER_ABOVE: tuple[Side, Side] = ("low", "high")
BETTER_BELOW: tuple[Side, Side] = ("high", "low")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A condition and how it came out; `low` and `high` are the ends of the 95 % interval."""

    metric: str
    condition: str
    value: float | None
    low: float | None
    high: float | None
    outcome: Outcome
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Errors:
    """The chances, at most, that luck passes what should fail, and fails what should pass."""

    passing: float
    failing: float


def check_gate(
    metric: str,
    condition: str,
    measured: Mapping[str, Estimate],
    errors: Errors,
    *,
    lacking: str = "",
    off: bool = False,
) -> Gate:
    """Passes or fails where the bound that luck might move holds so too; else it is inconclusive.

    `lacking` says why the metric was not measured. `off`: the config keeps it from being measured,
    so that it will never hold: that fails.
    """
    match = CONDITION.fullmatch(condition.strip())
    if match is None:
        raise InputError(f'gate `{metric}: {condition}`: expected such as ">= 0.7"')
    estimate = measured.get(metric)
    if estimate is None:
        outcome = Outcome.FAILED if off else Outcome.INCONCLUSIVE
        return _gate(metric, condition, None, outcome, _absent(metric, measured, lacking))
    holds, limit = SIGNS[match["sign"]], float(match["limit"])
    bad, good = BETTER_ABOVE if match["sign"].startswith(">") else BETTER_BELOW
    pessimist = bound(estimate, bad, errors.passing)
    optimist = bound(estimate, good, errors.failing)
    shown = estimate.interval()
    if pessimist is not None and holds(pessimist, limit):
        why = f"{estimate.mean:.2f}, surely {ENDS[bad]} {pessimist:.2f}"
        return _gate(metric, condition, shown, Outcome.PASSED, why)
    if optimist is not None and not holds(optimist, limit):
        why = f"{estimate.mean:.2f}, surely {ENDS[good]} {optimist:.2f}"
        return _gate(metric, condition, shown, Outcome.FAILED, why)
    if pessimist is None or optimist is None:
        why = f"{estimate.mean:.2f}, but too little was measured to be sure of it"
        return _gate(metric, condition, shown, Outcome.INCONCLUSIVE, why)
    low, high = sorted((pessimist, optimist))
    why = f"{estimate.mean:.2f}, somewhere between {low:.2f} and {high:.2f}: not sure enough"
    return _gate(metric, condition, shown, Outcome.INCONCLUSIVE, why)


def _absent(metric: str, measured: Mapping[str, Estimate], lacking: str) -> str:
    if lacking:
        return f"not measured: {lacking}"
    near = difflib.get_close_matches(metric, measured, n=3, cutoff=0.4)
    return "not measured" + (f"; near names that were: {', '.join(near)}" if near else "")


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
