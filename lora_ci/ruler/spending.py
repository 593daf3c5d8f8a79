"""How much of an error may be spent at each look at growing evidence.

Who looks often and stops at the first good look errs more often than one look would. So the error
is divided among the looks: each may be wrong with its own part, and the parts add up to the whole,
whatever the looks have in common.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import NormalDist

# The error spent once a fraction in (0, 1] of the evidence is in.
Shape = Callable[[float, float], float]


def pocock(fraction: float, error: float) -> float:
    """Spends much of it early. Source: Lan and DeMets, Biometrika 70 (1983), 659-663."""
    return error * math.log1p((math.e - 1) * fraction)


def obrien_fleming(fraction: float, error: float) -> float:
    """Saves most of it for the end. Source: Lan and DeMets, Biometrika 70 (1983), 659-663."""
    normal = NormalDist()
    return 2 * normal.cdf(normal.inv_cdf(error / 2) / math.sqrt(fraction))


def spend(fractions: Sequence[float], error: float, shape: Shape = pocock) -> tuple[float, ...]:
    """The error of each look, given how much of all evidence each has seen; sums to `error`.

    The first shape is for pictures: more seeds make a prompt's mean surer, but not the spread over
    prompts, so early looks know nearly as much as late ones. It needs down to half the pictures of
    the second shape, and gives up at most 0.2 of its power (`tests/ruler/test_spending.py`).
    Raises ValueError for fractions that do not rise to 1, or an error outside (0, 1).
    """
    seen = (0.0, *fractions)
    if seen[-1] != 1 or any(after <= before for before, after in pairwise(seen)):
        raise ValueError(f"looks at fractions {list(fractions)}, expected such as 0.25, 0.5, 1")
    if not 0 < error < 1:
        raise ValueError(f"an error of {error}, expected between 0 and 1")
    spent = [0.0, *(shape(fraction, error) for fraction in fractions[:-1]), error]
    return tuple(after - before for before, after in pairwise(spent))
