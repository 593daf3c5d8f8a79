"""Test scores on one scale: 0 is worthless, 0.8 just passes, 1 is as good as it gets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lora_ci.ruler.statistics import Estimate, Interval

PASS_MARK = 0.8
# Their errors have the scale's in common.
ONE_SCALE = ("identity", "flexibility")


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
    """One of the five tests, scored from its metric; an Estimate itself."""

    name: str
    metric: Estimate
    anchors: Anchors
    why: str

    @property
    def mean(self) -> float:
        """The score of the metric's mean."""
        return self.anchors.score(self.metric.mean)

    @property
    def n(self) -> int:
        """The units that the metric was measured on."""
        return self.metric.n

    def interval(self, confidence: float = 0.95) -> Interval:
        """The scores of the metric's ends; where an end is not known, the scale's own."""
        found = self.metric.interval(confidence)
        ends = (0.0, 1.0)
        if found.low is not None and found.high is not None:
            ends = self.anchors.score(found.low), self.anchors.score(found.high)
        return Interval(mean=self.mean, low=min(ends), high=max(ends), n=self.n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Overall:
    """The mean of the tests' scores; an Estimate itself.

    Half-widths add in squares, as errors of independent tests do. Identity and flexibility share
    a scale, and scores bend downwards: above the mean the half-widths of these two add up.
    """

    scores: Sequence[Score]

    @property
    def mean(self) -> float:
        """The mean score."""
        return sum(score.mean for score in self.scores) / len(self.scores)

    @property
    def n(self) -> int:
        """The units of the test that has fewest."""
        return min(score.n for score in self.scores)

    def interval(self, confidence: float = 0.95) -> Interval:
        """From 0 to 1."""
        ends = [score.interval(confidence) for score in self.scores]
        count, mean = len(ends), self.mean
        down = math.hypot(*(e.mean - (e.low or 0.0) for e in ends)) / count
        above = [(1.0 if e.high is None else e.high) - e.mean for e in ends]
        shared = [part for part, s in zip(above, self.scores, strict=True) if s.name in ONE_SCALE]
        others = [
            part for part, s in zip(above, self.scores, strict=True) if s.name not in ONE_SCALE
        ]
        up = math.hypot(sum(shared), *others) / count
        return Interval(mean=mean, low=max(0.0, mean - down), high=min(1.0, mean + up), n=self.n)
