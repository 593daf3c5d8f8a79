"""Student's t for any degrees of freedom, whole or not."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

# Beyond these the expansion around the normal quantile is good to 1e-6.
MANY_DEGREES = 1000.0
MOST_TERMS = 500
SMALLEST = 1e-300


@lru_cache(maxsize=1024)
def t_quantile(tail: float, degrees: float) -> float:
    """The t that is exceeded with probability `tail`, in (0, 0.5], for `degrees` > 0.

    Good to 1e-6, relative. The tail falls ever slower, so Newton's steps from below, where the
    normal quantile is, never pass the root.
    Source: for many degrees the Cornish-Fisher expansion, Abramowitz and Stegun 26.7.5.
    """
    if not 0 < tail <= 0.5 or not degrees > 0:
        raise ValueError(f"no t is exceeded with probability {tail} at {degrees} degrees")
    t = -NormalDist().inv_cdf(tail)
    if degrees > MANY_DEGREES:
        first = (t**3 + t) / 4
        second = (5 * t**5 + 16 * t**3 + 3 * t) / 96
        return t + first / degrees + second / degrees**2
    step = math.inf
    while step > 1e-13 * t:
        step = (t_tail(t, degrees) - tail) / density(t, degrees)
        t += step
    return t


def density(t: float, degrees: float) -> float:
    """The density of Student's t at `t`. Source: Abramowitz and Stegun 26.7.1, differentiated."""
    log_front = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)
    log_power = (degrees + 1) / 2 * math.log1p(t * t / degrees)
    return math.exp(log_front - log_power) / math.sqrt(degrees * math.pi)


def t_tail(t: float, degrees: float) -> float:
    """The probability that Student's t exceeds `t` >= 0. Source: Abramowitz and Stegun 26.7.1."""
    return incomplete_beta(degrees / (degrees + t * t), degrees / 2, 0.5) / 2


def incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularized incomplete beta function I_x(a, b) of x in [0, 1], for a and b > 0.

    Source: its continued fraction, NIST Digital Library of Mathematical Functions 8.17.22,
    evaluated by the modified method of Lentz (Thompson and Barnett, J. Comput. Phys. 64 (1986)).
    """
    if x <= 0 or x >= 1:
        return min(max(x, 0.0), 1.0)
    if x > (a + 1) / (a + b + 2):  # where the fraction converges slowly
        return 1 - incomplete_beta(1 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    log_front += a * math.log(x) + b * math.log1p(-x)
    fraction, c, d = 1.0, 1.0, 0.0
    for term in range(1, MOST_TERMS):
        m = term // 2
        if term % 2:
            numerator = -(a + m) * (a + b + m) / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            numerator = m * (b - m) / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / _not_0(1 + numerator * x * d)
        c = _not_0(1 + numerator * x / c)
        fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return math.exp(log_front) / (a * fraction)


def _not_0(x: float) -> float:
    return x if abs(x) > SMALLEST else SMALLEST
