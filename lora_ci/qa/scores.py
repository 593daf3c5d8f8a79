"""Test scores on one scale: 0 is worthless, 0.8 just passes, 1 is as good as it gets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lora_ci.ruler.statistics import Interval

PASS_MARK = 0.8


@dataclass(frozen=True, slots=True)
class Anchors:
    """The values of a metric that are scored 0, 0.8 and 1, rising or falling."""

    worst: float
    passing: float
    best: float

    def score(self, value: float) -> float:
        """The score of a value, linear between the anchors."""
        values, scores = [self.worst, self.passing, self.best], [0.0, PASS_MARK, 1.0]
        if self.worst > self.best:
            values, scores = values[::-1], scores[::-1]
        return float(np.interp(value, values, scores))


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One of the five tests. `score` is None where it could not be measured; `why` tells."""

    name: str
    score: float | None
    low: float | None = None
    high: float | None = None
    why: str


def scored(name: str, value: Interval, anchors: Anchors, why: str) -> Score:
    """The score of a measured metric; an unknown end of its interval is the scale's end."""
    ends = [
        anchors.score(value.low) if value.low is not None else 0.0,
        anchors.score(value.high) if value.high is not None else 1.0,
    ]
    if value.low is None and anchors.worst > anchors.best:
        ends.reverse()
    return Score(name=name, score=anchors.score(value.mean), low=min(ends), high=max(ends), why=why)


def unmeasured(name: str, why: str) -> Score:
    """A test that could not be made: not a pass."""
    return Score(name=name, score=None, why=f"not measured: {why}")


def overall(tests: Sequence[Score]) -> Interval | None:
    """The mean of the tests; None if one could not be measured.

    The tests' errors are taken as independent, so half-widths add in squares.
    """
    if any(t.score is None for t in tests):
        return None
    n = len(tests)
    mean = sum(t.score or 0.0 for t in tests) / n
    down = math.hypot(*((t.score or 0.0) - (t.low or 0.0) for t in tests)) / n
    up = math.hypot(*((1.0 if t.high is None else t.high) - (t.score or 0.0) for t in tests)) / n
    return Interval(mean=mean, low=max(0.0, mean - down), high=min(1.0, mean + up), n=n)
