"""How far people agree with the judge, and with each other: Cohen's kappa.

1 is full agreement, 0 what chance alone gives to two who choose as often as they do, below 0 less.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist

from lora_ci.core.votes import Choice, Vote
from lora_ci.ruler.statistics import Share

# Below so many pairs for each cell of the table, the large-sample error is too small.
# Source: Cicchetti, Applied Psychological Measurement 5 (1981), 101-104.
PAIRS_A_CELL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Kappa:
    """Cohen's kappa over `n` pairs with its standard error and 95 % interval.

    `agreed` is the plain share of pairs on which both chose the same. The ends are None where
    too few pairs tell them, or one of the two always chose the same.
    """

    value: float
    error: float
    low: float | None
    high: float | None
    agreed: float
    n: int


def cohens_kappa(table: Sequence[Sequence[int]], confidence: float = 0.95) -> Kappa | None:
    """The kappa of a square table of counts [rater A's category][rater B's category].

    None where it is not defined: nothing was rated, or both know one category only.
    Sources: Cohen, Educational and Psychological Measurement 20 (1960), 37-46; the large-sample
    variance of Fleiss, Cohen and Everitt, Psychological Bulletin 72 (1969), 323-327.

    Raises:
        ValueError: the table is not square, or a count is negative.
    """
    size = len(table)
    if any(len(row) != size or min(row) < 0 for row in table):
        raise ValueError("expected a square table of counts")
    n = sum(map(sum, table))
    if n == 0:
        return None
    p = [[count / n for count in row] for row in table]
    rows, columns = [sum(row) for row in p], [sum(column) for column in zip(*p, strict=True)]
    agreed = sum(p[i][i] for i in range(size))
    chance = sum(a * b for a, b in zip(rows, columns, strict=True))
    if math.isclose(chance, 1.0):
        return None
    value = (agreed - chance) / (1 - chance)
    error = _standard_error(p, rows, columns, agreed, chance) / math.sqrt(n)
    low, high = _ends(
        value, error, hits=round(n * agreed), n=n, chance=chance, confidence=confidence
    )
    # Who always says the same tells nothing of agreement: the error would be 0.
    constant = math.isclose(max(*rows, *columns), 1.0)
    known = n >= PAIRS_A_CELL * size**2 and not constant
    return Kappa(
        value=value,
        error=error,
        low=low if known else None,
        high=high if known else None,
        agreed=agreed,
        n=n,
    )


def _standard_error(
    p: Sequence[Sequence[float]],
    rows: Sequence[float],
    columns: Sequence[float],
    agreed: float,
    chance: float,
) -> float:
    """The standard error of one pair, kappa being what it is (not: if there were no agreement)."""
    every = range(len(p))
    same = sum(p[i][i] * ((1 - chance) - (columns[i] + rows[i]) * (1 - agreed)) ** 2 for i in every)
    apart = sum(p[i][j] * (columns[i] + rows[j]) ** 2 for i in every for j in every if i != j)
    middle = agreed * chance - 2 * chance + agreed
    variance = same + (1 - agreed) ** 2 * apart - middle**2
    return math.sqrt(max(variance, 0.0)) / (1 - chance) ** 2


def _ends(
    value: float, error: float, *, hits: int, n: int, chance: float, confidence: float
) -> tuple[float, float]:
    """The normal interval; where all agree, or none, its error is 0 and says nothing.

    There the ends come of Wilson's interval for the share of agreement, at the chance as measured.
    """
    if hits in (0, n):
        share = Share(hits=hits, n=n).scaled(1 / (1 - chance), -chance / (1 - chance))
        ends = share.interval(confidence)
        low, high = ends.low, ends.high
        assert low is not None
        assert high is not None
    else:
        half = NormalDist().inv_cdf((1 + confidence) / 2) * error
        low, high = value - half, value + half
    return max(min(low, value), -1.0), min(max(high, value), 1.0)


def by_pair(votes: Sequence[Vote]) -> dict[str, Choice]:
    """What most voters say of each pair; where as many want the new one as the other: neither."""
    found: dict[str, Counter[Choice]] = defaultdict(Counter)
    for vote in votes:
        found[vote.pair][vote.choice] += 1
    return {pair: _most(counts) for pair, counts in found.items()}


def _most(counts: Counter[Choice]) -> Choice:
    lead = counts[Choice.NEW] - counts[Choice.OTHER]
    if lead == 0 or counts[Choice.NONE] > max(counts[Choice.NEW], counts[Choice.OTHER]):
        return Choice.NONE
    return Choice.NEW if lead > 0 else Choice.OTHER


def with_judge(people: Mapping[str, Choice], judge: Mapping[str, Choice]) -> Kappa | None:
    """People against the judge, over the pairs on which both have a preference.

    The judge hardly ever calls two pictures the same, so a person's "no difference" is no
    disagreement: those pairs are left out.
    """
    sides = (Choice.NEW, Choice.OTHER)
    return cohens_kappa(_table(people, judge, sides))


def between_voters(votes: Sequence[Vote]) -> dict[tuple[str, str], Kappa | None]:
    """The kappa of every two voters who chose on the same pairs, over all three choices."""
    said: dict[str, dict[str, Choice]] = defaultdict(dict)
    for vote in votes:
        said[vote.voter][f"{vote.fingerprint} {vote.pair}"] = vote.choice
    return {
        (one, other): cohens_kappa(_table(said[one], said[other], tuple(Choice)))
        for one, other in combinations(sorted(said), 2)
        if said[one].keys() & said[other].keys()
    }


def _table(
    one: Mapping[str, Choice], other: Mapping[str, Choice], categories: Sequence[Choice]
) -> list[list[int]]:
    """How often one chose this where the other chose that; other choices do not count."""
    both = Counter((one[pair], other[pair]) for pair in one.keys() & other.keys())
    return [[both[a, b] for b in categories] for a in categories]
