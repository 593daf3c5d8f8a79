"""Intervals. The prompt is the unit: pictures of one prompt are not independent of each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# 0.975 quantiles of Student's t for 1 to 30 degrees of freedom.
# Source: NIST/SEMATECH e-Handbook, https://www.itl.nist.gov/div898/handbook/eda/section3/eda3672.htm
T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
    2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
    2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
Z_975 = 1.960


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean with its 95 % interval over `n` units; the ends are None where n is below 2."""

    mean: float
    low: float | None
    high: float | None
    n: int

    def scaled(self, factor: float, shift: float = 0.0) -> Interval:
        """The interval of `factor · x + shift`."""
        ends = [None if e is None else factor * e + shift for e in (self.low, self.high)]
        low, high = ends if factor >= 0 else ends[::-1]
        return Interval(mean=factor * self.mean + shift, low=low, high=high, n=self.n)


def t_975(degrees: int) -> float:
    """The 0.975 quantile of Student's t; above 30 degrees of freedom good to 0.2 %.

    Source: first term of the Cornish-Fisher expansion, Abramowitz and Stegun 26.7.5.
    """
    if degrees <= len(T_975):
        return T_975[degrees - 1]
    return Z_975 + (Z_975**3 + Z_975) / (4 * degrees)


def mean_interval(values: Sequence[float] | NDArray[np.floating]) -> Interval:
    """Mean of independent values and its t-interval.

    Raises ValueError for no values.
    """
    data = np.asarray(values, np.float64)
    if data.size == 0:
        raise ValueError("no value to average")
    mean = float(data.mean())
    if data.size < 2:
        return Interval(mean=mean, low=None, high=None, n=int(data.size))
    half = t_975(data.size - 1) * float(data.std(ddof=1)) / math.sqrt(data.size)
    return Interval(mean=mean, low=mean - half, high=mean + half, n=int(data.size))


def share_interval(hits: int, n: int) -> Interval:
    """A share and its Wilson interval; honest for 0 of n and n of n.

    Raises ValueError for n = 0.
    Source: E. B. Wilson, J. Am. Stat. Assoc. 22 (1927), 209-212.
    """
    if n < 1 or not 0 <= hits <= n:
        raise ValueError(f"{hits} of {n} is no share")
    p, z2 = hits / n, Z_975**2
    center = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_975 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Interval(mean=p, low=max(0.0, center - half), high=min(1.0, center + half), n=n)


def separation(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """d′: how many pooled deviations the mean of `one` lies above that of `other`.

    Needs two values of each. Source: Green and Swets, Signal Detection Theory (1966).
    """
    pooled = math.sqrt((float(one.var(ddof=1)) + float(other.var(ddof=1))) / 2)
    difference = float(one.mean() - other.mean())
    return difference / pooled if pooled > 0 else math.copysign(math.inf, difference)
