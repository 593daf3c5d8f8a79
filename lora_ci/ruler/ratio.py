"""The ratio of two means that were both measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lora_ci.ruler.statistics import Interval, Mean, mean_of, sum_of_errors, tail_of
from lora_ci.ruler.student import t_quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """`top / bottom` with the variances of the two and their covariance, then scaled.

    `positive`: neither of the two can be below 0 in truth, though what was measured may.
    """

    top: float
    bottom: float
    top_variance: float
    bottom_variance: float
    covariance: float
    degrees: float
    n: int
    positive: bool = False
    factor: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        given = (self.top, self.bottom, self.top_variance, self.bottom_variance, self.covariance)
        if not all(math.isfinite(x) for x in (*given, self.factor, self.shift)):
            raise ValueError("a ratio of what is not finite")
        if self.bottom == 0:
            raise ValueError("a ratio to 0")

    @property
    def mean(self) -> float:
        """The ratio, scaled."""
        return self.factor * self.top / self.bottom + self.shift

    def interval(self, confidence: float = 0.95) -> Interval:
        """All ratios r for which top - r · bottom is not surely unlike 0.

        Where the bottom itself is not surely unlike 0, any ratio is possible: there are no ends.
        But if both are positive and the top surely is, there is one, as small ratios are excluded.
        The two ends miss equally often, which those of first-order error propagation do not.
        Source: Fieller, J. R. Stat. Soc. B 16 (1954), 175-185.
        """
        tail = tail_of(confidence)
        unknown = Interval(mean=self.mean, low=None, high=None, n=self.n)
        if self.degrees == 0:
            return unknown
        t2 = t_quantile(tail, self.degrees) ** 2
        square = self.bottom**2 - t2 * self.bottom_variance
        middle = self.top * self.bottom - t2 * self.covariance
        rest = self.top**2 - t2 * self.top_variance
        half = math.sqrt(max(middle**2 - square * rest, 0.0))
        if square <= 0:
            if not (self.positive and self.top > 0 and rest > 0 and square < 0):
                return unknown
            only = self.factor * (middle - half) / square + self.shift
            if self.factor < 0:
                return replace(unknown, high=max(only, self.mean))
            return replace(unknown, low=min(only, self.mean))
        ends = ((middle - half) / square, (middle + half) / square)
        low, high = sorted(self.factor * end + self.shift for end in ends)
        return Interval(
            mean=self.mean, low=min(low, self.mean), high=max(high, self.mean), n=self.n
        )

    def scaled(self, factor: float, shift: float = 0.0) -> Ratio:
        """The estimate of `factor · x + shift`."""
        return replace(self, factor=factor * self.factor, shift=factor * self.shift + shift)


def ratio_of(
    tops: Sequence[float] | NDArray[np.floating],
    *,
    paired: Sequence[float] | NDArray[np.floating] | None = None,
    apart: Mean | None = None,
) -> Ratio:
    """mean(tops) / (mean(paired) + apart).

    `paired` was measured on the same units as `tops`, `apart` on others. The degrees of freedom are
    those of top - ratio · bottom, a sum of two independent terms.
    Raises ValueError for a bottom of 0, or values that are not finite.
    """
    top = mean_of(tops)
    numerators = np.asarray(tops, np.float64)
    same = np.zeros_like(numerators) if paired is None else np.asarray(paired, np.float64)
    other = Mean(mean=0.0, error=0.0, degrees=math.inf, n=1) if apart is None else apart
    below = mean_of(same)
    bottom = below.mean + other.mean
    if bottom == 0:
        raise ValueError("a ratio to 0")
    ratio = top.mean / bottom
    residual = mean_of(numerators - ratio * same)
    _, degrees = sum_of_errors(
        (residual.error, residual.degrees), (ratio * other.error, other.degrees)
    )
    shared = (numerators - top.mean) @ (same - below.mean)
    return Ratio(
        top=top.mean,
        bottom=bottom,
        top_variance=top.error**2,
        bottom_variance=below.error**2 + other.error**2,
        covariance=float(shared) / max(top.n * (top.n - 1), 1),
        degrees=degrees,
        n=top.n,
    )
