"""How unlike two sets of pictures are: 0 for two draws from the same source, on average."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lora_ci.ruler.ratio import Ratio
from lora_ci.ruler.statistics import Mean, mean_of, shares_of_pairs, sum_of_errors

Matrix = NDArray[np.float64]
# Of features [n, d] and [m, d], how alike each two are, [n, m].
Kernel = Callable[[Matrix, Matrix], Matrix]


def linear(one: Matrix, other: Matrix) -> Matrix:
    """The squared discrepancy by this kernel is that of the two means."""
    return one @ other.T


def cubic(one: Matrix, other: Matrix) -> Matrix:
    """(x·y / d + 1)³. Source: Bińkowski et al., Demystifying MMD GANs, ICLR 2018."""
    cubed: Matrix = (one @ other.T / one.shape[1] + 1) ** 3
    return cubed


def cubic_of_cosines(one: Matrix, other: Matrix) -> Matrix:
    """(x·y + 1)³: the cubic kernel for unit vectors, whose products do not grow with d."""
    cubed: Matrix = (one @ other.T + 1) ** 3
    return cubed


@dataclass(frozen=True, slots=True, kw_only=True)
class Discrepancy:
    """The squared maximum mean discrepancy of two sets, with what each unit adds to it.

    `one` [n] and `other` [m] are nearly independent values (the jackknife's), each around the whole
    `value`.
    """

    value: float
    one: NDArray[np.float64]
    other: NDArray[np.float64]

    def estimate(self) -> Mean:
        """The discrepancy with its error; for like sets the error is rather too large."""
        errors = [mean_of(shares) for shares in (self.one, self.other)]
        error, degrees = sum_of_errors(*((each.error, each.degrees) for each in errors))
        n = min(len(self.one), len(self.other))
        return Mean(mean=self.value, error=error, degrees=degrees, n=n)


def discrepancy(one: Matrix, other: Matrix, kernel: Kernel) -> Discrepancy:
    """The unbiased squared maximum mean discrepancy of [n, s, d] and [m, t, d], n and m at least 3.

    The first axis is of independent units: pictures of one prompt are averaged over their seeds,
    and never compared with each other. With the cubic kernel and one picture a unit this is the
    kernel inception distance, whatever the features. It may be below 0.
    Sources: Gretton et al., J. Mach. Learn. Res. 13 (2012), 723-773, equation 3; Arvesen, Ann.
    Math. Stat. 40 (1969), 2076-2100, for the error. Raises ValueError for fewer than 3 units.
    """
    if min(len(one), len(other)) < 3:
        raise ValueError(f"{len(one)} units against {len(other)}, needs 3 of each")
    within = [shares_of_pairs(_by_unit(units, units, kernel)) for units in (one, other)]
    between = _by_unit(one, other, kernel)
    middle = float(between.mean())
    means = [float(shares.mean()) for shares in within]
    return Discrepancy(
        value=means[0] + means[1] - 2 * middle,
        one=within[0] + means[1] - 2 * between.mean(axis=1),
        other=within[1] + means[0] - 2 * between.mean(axis=0),
    )


def share_of(top: Discrepancy, bottom: Discrepancy) -> Ratio:
    """`top / bottom`, which were measured on the same units on both sides.

    For an adapter's pictures over the base's, both against the references: 0 is as real, 1 as the
    base. Raises ValueError for a bottom of 0.
    """
    ratio = top.value / bottom.value if bottom.value else 0.0
    sides = ((top.one, bottom.one), (top.other, bottom.other))
    covariances = [np.cov(above, below) / len(above) for above, below in sides]
    whole = sum(covariances, np.zeros((2, 2)))
    residuals = [mean_of(above - ratio * below) for above, below in sides]
    _, degrees = sum_of_errors(*((each.error, each.degrees) for each in residuals))
    return Ratio(
        top=top.value,
        bottom=bottom.value,
        top_variance=float(whole[0, 0]),
        bottom_variance=float(whole[1, 1]),
        covariance=float(whole[0, 1]),
        degrees=degrees,
        n=min(len(top.one), len(top.other)),
        positive=True,
    )


def _by_unit(one: Matrix, other: Matrix, kernel: Kernel) -> Matrix:
    """The mean kernel of the pictures of two units, [n, m]."""
    (n, s, d), (m, t, _) = one.shape, other.shape
    every = kernel(one.reshape(-1, d).astype(np.float64), other.reshape(-1, d).astype(np.float64))
    by_unit: Matrix = every.reshape(n, s, m, t).mean(axis=(1, 3))
    return by_unit
