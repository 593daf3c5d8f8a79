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

# A factor of more than this exponent is as good as endless.
MOST_EXPONENT = 50.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean between two ends over `n` units; an end is None where nothing tells it."""

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
        tail = tail_of(confidence)
        if self.degrees == 0:
            return Interval(mean=self.mean, low=None, high=None, n=self.n)
        half = t_quantile(tail, self.degrees) * self.error
        return Interval(mean=self.mean, low=self.mean - half, high=self.mean + half, n=self.n)

    def scaled(self, factor: float, shift: float = 0.0) -> Mean:
        """The estimate of `factor · x + shift`."""
        return replace(self, mean=factor * self.mean + shift, error=abs(factor) * self.error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Positive:
    """What cannot be below 0 and has an error that grows with it, such as a mean of deviations.

    Its logarithm has Student's interval, so the upper end lies farther away than the lower one.
    Source: Bartlett and Kendall, J. R. Stat. Soc. Suppl. 8 (1946), 128-138.
    """

    of: Mean

    def __post_init__(self) -> None:
        if self.of.mean < 0 or (self.of.mean == 0 and self.of.error > 0):
            raise ValueError(f"{self.of.mean} with standard error {self.of.error} has no logarithm")

    @property
    def mean(self) -> float:
        """The mean itself."""
        return self.of.mean

    @property
    def n(self) -> int:
        """The units of the mean."""
        return self.of.n

    def interval(self, confidence: float = 0.95) -> Interval:
        """From the mean over a factor to the mean times that factor."""
        around = self.of.interval(confidence)
        if around.high is None or self.of.error == 0:
            return around
        factor = math.exp(min(around.high / self.of.mean - 1, MOST_EXPONENT))
        mean = self.of.mean
        return Interval(mean=mean, low=mean / factor, high=mean * factor, n=self.n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """`hits` of `n`, as `factor · share + shift`; even one unit tells something of a share.

    `alike` is the design effect: so many units tell as much as one independent one.
    """

    hits: int
    n: int
    alike: float = 1.0
    factor: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        if self.n < 1 or not 0 <= self.hits <= self.n:
            raise ValueError(f"{self.hits} of {self.n} is no share")
        if not 1 <= self.alike <= self.n:
            raise ValueError(f"{self.n} units as alike as {self.alike}")
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
        z2 = NormalDist().inv_cdf(tail_of(confidence)) ** 2
        p, n = self.hits / self.n, self.n / self.alike
        center = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n)
        # The ends of 0 of n and n of n are 0 and 1 but for rounding.
        low, high = max(0.0, min(p, center - half)), min(1.0, max(p, center + half))
        ends = sorted(self.factor * end + self.shift for end in (low, high))
        return Interval(mean=self.mean, low=ends[0], high=ends[1], n=self.n)

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
        tail_of(confidence)
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


def share_of(found: NDArray[np.bool_]) -> Share:
    """The share of pictures with a property, [prompts, seeds]: those of a prompt may be alike.

    The design effect is how much more the prompts' shares vary than those of independent pictures
    would. Where all or none have the property nothing tells, and they are taken as independent.
    Source: Rao and Scott, Biometrics 48 (1992), 577-585.
    """
    prompts, seeds = found.shape
    share = float(found.mean())
    alike = 1.0
    if prompts > 1 and 0 < share < 1:
        alike = float(found.mean(axis=1).var(ddof=1)) * seeds / (share * (1 - share))
    hits = int(np.count_nonzero(found))
    return Share(hits=hits, n=found.size, alike=min(max(alike, 1.0), float(seeds)))


def bound(estimate: Estimate, side: Literal["low", "high"], error: float) -> float | None:
    """The one-sided bound that is wrong with probability `error` at most.

    It is an end of the two-sided interval at confidence 1 - 2 · error; `error` is below a half.
    """
    interval = estimate.interval(1 - 2 * error)
    return interval.low if side == "low" else interval.high


def divided(values: Mean, *by: Mean) -> Mean:
    """The mean of values that were divided by other measured numbers, with the error of those too.

    Relative errors add in squares, to first order and as if independent; where a divisor is known
    to 20 % or worse, `ruler/ratio.py` does better.
    Source: JCGM 100:2008 (GUM), 5.1.6. Raises ValueError for a divisor of 0.
    """
    if any(one.mean == 0 for one in by):
        raise ValueError("a ratio to 0")
    error, degrees = sum_of_errors(
        (values.error, values.degrees),
        *((values.mean * one.error / one.mean, one.degrees) for one in by),
    )
    return Mean(mean=values.mean, error=error, degrees=degrees, n=values.n)


def sum_of_errors(*parts: tuple[float, float]) -> tuple[float, float]:
    """The error of a sum of independent terms and its degrees, of (error, degrees) of each.

    A part of 0 degrees, whose error is not known, leaves that of the sum unknown.
    Sources: Satterthwaite, Biometrics Bulletin 2 (1946), 110-114; Welch, Biometrika 34 (1947).
    """
    error = math.hypot(*(part for part, _ in parts))
    fewest = min(degrees for _, degrees in parts)
    if error == 0 or fewest == 0:
        return error, fewest
    unsure = sum((part / error) ** 4 / degrees for part, degrees in parts)
    return error, 1 / unsure if unsure else math.inf


def mean_of_pairs(values: NDArray[np.floating]) -> Mean:
    """The mean over all pairs of different units of a symmetric matrix [n, n], n at least 2.

    Each unit is in n - 1 pairs, so pairs are not independent. Two units are one pair, which tells
    no error.
    """
    if len(values) < 3:
        return mean_of(values[0, 1:])
    return mean_of(shares_of_pairs(values))


def shares_of_pairs(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """What each unit adds to the mean over pairs of a matrix [n, n]: nearly independent values [n].

    They are the jackknife's pseudo-values. Needs 3 units.
    Source: Arvesen, Ann. Math. Stat. 40 (1969), 2076-2100.
    """
    n = len(values)
    by_unit = (values.sum(axis=1, dtype=np.float64) - np.diagonal(values)) / (n - 1)
    shares: NDArray[np.float64] = (2 * (n - 1) * by_unit - n * by_unit.mean()) / (n - 2)
    return shares


def separation(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """d′: how many pooled deviations the mean of `one` lies above that of `other`.

    Needs two values of each. Source: Green and Swets, Signal Detection Theory (1966).
    """
    pooled = math.sqrt((float(one.var(ddof=1)) + float(other.var(ddof=1))) / 2)
    difference = float(one.mean() - other.mean())
    return difference / pooled if pooled > 0 else math.copysign(math.inf, difference)


def least_separation(
    one: NDArray[np.floating], other: NDArray[np.floating], *, units: int, error: float = 0.05
) -> float:
    """The lower bound of d′ that is wrong with probability `error`; `other` has so many `units`.

    With few units their deviations are guesses: the degrees of freedom are those of the sum of the
    two variances, and d′ shrinks by Hedges's factor. Needs two values and units of each.
    Sources: Hedges and Olkin, Statistical Methods for Meta-Analysis (1985), chapter 5;
    Satterthwaite, Biometrics Bulletin 2 (1946), 110-114.
    """
    found = separation(one, other)
    if not math.isfinite(found):
        return found
    n, variances = len(one), (float(one.var(ddof=1)), float(other.var(ddof=1)))
    _, degrees = sum_of_errors(
        (math.sqrt(variances[0]), n - 1), (math.sqrt(variances[1]), units - 1)
    )
    shrunk = found * (1 - 3 / (4 * degrees - 1))
    variance = 1 / n + 1 / units + shrunk**2 / (2 * degrees)
    return shrunk - t_quantile(error, degrees) * math.sqrt(variance)


def tail_of(confidence: float) -> float:
    """What lies beyond each end."""
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence of {confidence}, expected between 0 and 1")
    return (1 - confidence) / 2
