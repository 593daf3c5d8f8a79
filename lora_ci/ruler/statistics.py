"""Estimates and their intervals.

The prompt is the unit: pictures of one prompt are not independent of each other, so they are
averaged over seeds before anything here sees them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from lora_ci.ruler.student import t_quantile


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean between two ends over `n` units; the ends are None where nothing tells them."""

    mean: float
    low: float | None
    high: float | None
    n: int


class Estimate(Protocol):
    """A measured number that knows how sure it is."""

    @property
    def mean(self) -> float:
        """The number itself."""
        ...

    @property
    def n(self) -> int:
        """How many independent units it was measured on."""
        ...

    def interval(self, confidence: float = 0.95) -> Interval:
        """The two-sided interval; raises ValueError for a confidence outside (0, 1)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A mean with its standard error, and the degrees of freedom which that error was found with.

    0 degrees: one unit tells no error, so there is no interval. Endless degrees: the error is
    known. Source: Student, Biometrika 6 (1908), 1-25.
    """

    mean: float
    error: float
    degrees: float
    n: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.error) and self.error >= 0):
            raise ValueError(f"{self.mean} with standard error {self.error} is no estimate")
        if not self.degrees >= 0 or self.n < 1:
            raise ValueError(f"{self.degrees} degrees of freedom, {self.n} units")

    def interval(self, confidence: float = 0.95) -> Interval:
        """Student's t-interval."""
        tail = _tail(confidence)
        if self.degrees == 0:
            return Interval(mean=self.mean, low=None, high=None, n=self.n)
        half = t_quantile(tail, self.degrees) * self.error
        return Interval(mean=self.mean, low=self.mean - half, high=self.mean + half, n=self.n)

    def scaled(self, factor: float, shift: float = 0.0) -> Mean:
        """The estimate of `factor · x + shift`."""
        return replace(self, mean=factor * self.mean + shift, error=abs(factor) * self.error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """`hits` of `n`, as `factor · share + shift`; even one unit tells something of a share."""

    hits: int
    n: int
    factor: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        if self.n < 1 or not 0 <= self.hits <= self.n:
            raise ValueError(f"{self.hits} of {self.n} is no share")
        if not (math.isfinite(self.factor) and math.isfinite(self.shift)):
            raise ValueError(f"a share times {self.factor} plus {self.shift} is no number")

    @property
    def mean(self) -> float:
        """The share, scaled."""
        return self.factor * self.hits / self.n + self.shift

    def interval(self, confidence: float = 0.95) -> Interval:
        """The Wilson interval; honest for 0 of n and n of n.

        Source: E. B. Wilson, J. Am. Stat. Assoc. 22 (1927), 209-212.
        """
        z2 = NormalDist().inv_cdf(_tail(confidence)) ** 2
        p, n = self.hits / self.n, self.n
        center = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
        # The ends of 0 of n and n of n are 0 and 1 but for rounding.
        low, high = max(0.0, min(p, center - half)), min(1.0, max(p, center + half))
        ends = sorted(self.factor * end + self.shift for end in (low, high))
        return Interval(mean=self.mean, low=ends[0], high=ends[1], n=n)

    def scaled(self, factor: float, shift: float = 0.0) -> Share:
        """The estimate of `factor · x + shift`."""
        return replace(self, factor=factor * self.factor, shift=factor * self.shift + shift)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exact:
    """What is known without error, such as a file's size."""

    value: float
    n: int = 1

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"{self.value} is no number")

    @property
    def mean(self) -> float:
        """The value."""
        return self.value

    def interval(self, confidence: float = 0.95) -> Interval:
        """The value thrice."""
        _tail(confidence)
        return Interval(mean=self.value, low=self.value, high=self.value, n=self.n)

    def scaled(self, factor: float, shift: float = 0.0) -> Exact:
        """The estimate of `factor · x + shift`."""
        return replace(self, value=factor * self.value + shift)


def mean_of(values: Sequence[float] | NDArray[np.floating]) -> Mean:
    """The mean of independent values, at least one.

    Raises ValueError for no values, or one that is not finite.
    """
    data = np.asarray(values, np.float64)
    n = int(data.size)
    if n == 0:
        raise ValueError("no value to average")
    if not np.isfinite(data).all():
        raise ValueError("a value that is not finite cannot be averaged")
    error = float(data.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    return Mean(mean=float(data.mean()), error=error, degrees=n - 1, n=n)


def bound(estimate: Estimate, side: Literal["low", "high"], error: float) -> float | None:
    """The one-sided bound that is wrong with probability `error` at most.

    It is an end of the two-sided interval at confidence 1 - 2 · error; `error` is below a half.
    """
    interval = estimate.interval(1 - 2 * error)
    return interval.low if side == "low" else interval.high


def ratio_of(numerators: Sequence[float] | NDArray[np.floating], denominator: Mean) -> Mean:
    """The mean of independent values over a mean that was measured on other units.

    First-order error propagation: the relative errors add in squares.
    Source: Cochran, Sampling Techniques (1977), 6.4.
    Raises ValueError for a denominator of 0.
    """
    if denominator.mean == 0:
        raise ValueError("a ratio to 0")
    top = mean_of(numerators)
    ratio = top.mean / denominator.mean
    error, degrees = sum_of_errors(
        (top.error / denominator.mean, top.degrees),
        (ratio * denominator.error / denominator.mean, denominator.degrees),
    )
    return Mean(mean=ratio, error=error, degrees=degrees, n=top.n)


def sum_of_errors(*parts: tuple[float, float]) -> tuple[float, float]:
    """The error of a sum of independent terms and its degrees, of (error, degrees) of each.

    A part of 0 degrees, whose error is not known, leaves that of the sum unknown.
    Sources: Satterthwaite, Biometrics Bulletin 2 (1946), 110-114; Welch, Biometrika 34 (1947).
    """
    error = math.hypot(*(part for part, _ in parts))
    fewest = min(degrees for _, degrees in parts)
    if error == 0 or fewest == 0:
        return error, fewest
    return error, 1 / sum((part / error) ** 4 / degrees for part, degrees in parts)


def separation(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """d′: how many pooled deviations the mean of `one` lies above that of `other`.

    Needs two values of each. Source: Green and Swets, Signal Detection Theory (1966).
    """
    pooled = math.sqrt((float(one.var(ddof=1)) + float(other.var(ddof=1))) / 2)
    difference = float(one.mean() - other.mean())
    return difference / pooled if pooled > 0 else math.copysign(math.inf, difference)


def _tail(confidence: float) -> float:
    """What lies beyond each end."""
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence of {confidence}, expected between 0 and 1")
    return (1 - confidence) / 2
