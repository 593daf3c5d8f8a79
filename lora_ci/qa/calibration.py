"""Gate values that fit what people said: at which value of a metric do they take an adapter? Pure.

A run is accepted where people found the new picture better, or no difference, in at least half of
its pairs. Of all thresholds the one that separates accepted runs best is taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

from lora_ci.ruler.statistics import Interval, Share

Sign = Literal[">=", "<="]

# What people can see in pairs of pictures, and which way is better.
SIGNS: Mapping[str, Sign] = {
    **dict.fromkeys(("overall", "identity", "flexibility", "following", "variety", "sound"), ">="),
    **dict.fromkeys(("spread", "loss.against-base"), "<="),
}
# Of fewer pairs, or fewer runs of a kind, luck alone separates too often: with 12 runs, 4 of them
# not accepted, one metric of eight does so by full luck in 8 of 495 cases.
MIN_PAIRS = 8
MIN_RUNS = 12
MIN_EACH = 4
RESAMPLES = 500
SHUFFLES = 1000
# The chance, at most, that luck has any threshold suggested.
ERROR = 0.05
LEAST_USED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A judged run that people looked at: new preferred or tied in `liked` of `pairs` pairs."""

    fingerprint: str
    lora: str
    metrics: Mapping[str, float]
    liked: int
    pairs: int

    @property
    def accepted(self) -> bool:
        """True if at least half of the pairs speak for it."""
        return 2 * self.liked >= self.pairs

    def share(self) -> Interval:
        """The share of pairs that speak for it."""
        return Share(hits=self.liked, n=self.pairs).interval()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortage:
    """What is lacking before anything can be said: runs with votes, and runs of either kind."""

    runs: int
    accepted: int
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Threshold:
    """The value of a gate that separates best, between `low` and `high` at 95 %.

    `kept` and `stopped` are the shares of accepted runs that it passes and of others that it stops,
    on the runs that it was found on; `unseen` is the mean of both on runs that it was not found
    on. `luck` is the chance that shuffled votes separate as well; `sound` says that it is small
    enough for all metrics tried together.
    """

    metric: str
    sign: Sign
    value: float
    low: float | None
    high: float | None
    kept: float
    stopped: float
    unseen: float | None
    luck: float
    sound: bool
    present: float | None
    n: int

    @property
    def condition(self) -> str:
        """The gate as the config says it."""
        return f"{self.sign} {plain_number(self.value)}"


def lacking(runs: Sequence[Tried]) -> Shortage | None:
    """What is lacking; None where there is enough. Runs of too few pairs do not count."""
    enough = counted_runs(runs)
    accepted = sum(run.accepted for run in enough)
    short = Shortage(
        runs=max(0, MIN_RUNS - len(enough)),
        accepted=max(0, MIN_EACH - accepted),
        refused=max(0, MIN_EACH - (len(enough) - accepted)),
    )
    return short if short.runs or short.accepted or short.refused else None


def counted_runs(runs: Sequence[Tried]) -> list[Tried]:
    """Those with enough pairs to say whether people accept them."""
    return [run for run in runs if run.pairs >= MIN_PAIRS]


def calibrate(
    runs: Sequence[Tried], present: Mapping[str, float], rng: Random
) -> tuple[Threshold, ...]:
    """The best threshold of each metric that most runs have, those that separate best first.

    `present` are the values of gates now: of thresholds that are equally good, the one next to it
    is taken. Raises ValueError where runs are lacking.
    """
    if lacking(runs):
        raise ValueError("too few runs with votes")
    usable = {
        metric: known
        for metric in SIGNS
        if not lacking(known := [run for run in counted_runs(runs) if metric in run.metrics])
    }
    found = [
        _threshold(metric, known, present.get(metric), len(usable), rng)
        for metric, known in usable.items()
    ]
    told = [threshold for threshold in found if threshold]
    return tuple(sorted(told, key=lambda t: (not t.sound, -(t.kept + t.stopped), t.metric)))


def _threshold(
    metric: str, runs: Sequence[Tried], present: float | None, tried: int, rng: Random
) -> Threshold | None:
    sign = SIGNS[metric]
    # Turned round where less is better, so that accepted runs are always those above.
    turn = 1.0 if sign == ">=" else -1.0
    values = [turn * run.metrics[metric] for run in runs]
    accepted = [run.accepted for run in runs]
    now = None if present is None else turn * present
    best = best_cut(values, accepted, now)
    if best is None:
        return None
    ends, unseen = _resampled(values, runs, now, rng)
    luck = _luck(values, accepted, best.gain, rng)
    low, high = sorted(turn * end for end in ends) if ends else (None, None)
    return Threshold(
        metric=metric,
        sign=sign,
        value=turn * best.value,
        low=low,
        high=high,
        kept=best.kept,
        stopped=best.stopped,
        unseen=unseen,
        luck=luck,
        sound=luck * tried <= ERROR,
        present=present,
        n=len(runs),
    )


@dataclass(frozen=True, slots=True)
class Cut:
    """A threshold: what is at or above `value` passes. `gain` is Youden's J, as a whole number.

    J = kept + stopped - 1, times the numbers of accepted and of other runs.
    Source: Youden, Cancer 3 (1950), 32-35.
    """

    value: float
    gain: int
    kept: float
    stopped: float


def best_cut(
    values: Sequence[float], accepted: Sequence[bool], present: float | None
) -> Cut | None:
    """The cut of the largest J; None where no cut gains, or all runs are of one kind.

    Every value between two neighbors cuts alike. The present value is kept where it is one of the
    best; else the best place next to it is taken, without one the widest.
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    cuts = _cuts([values[i] for i in order])
    gains = _gains([accepted[i] for i in order], cuts)
    most = max((gain for gain, _, _ in gains), default=0)
    if most <= 0:
        return None
    places = [
        (values[order[at - 1]], values[order[at]], kept, stopped)
        for at, (gain, kept, stopped) in zip(cuts, gains, strict=True)
        if gain == most
    ]
    if present is None:
        chosen = max(places, key=lambda place: place[1] - place[0])
    else:
        chosen = min(places, key=lambda place: abs(_nearest(place[0], place[1], present) - present))
    below, above, kept, stopped = chosen
    goods = sum(accepted)
    return Cut(
        _nearest(below, above, present), most, kept / goods, stopped / (len(accepted) - goods)
    )


def _cuts(values: Sequence[float]) -> list[int]:
    """Where ascending values change: at the first place of each value but the lowest."""
    return [at for at in range(1, len(values)) if values[at] > values[at - 1]]


def _gains(accepted: Sequence[bool], cuts: Sequence[int]) -> list[tuple[int, int, int]]:
    """For each cut its gain, the accepted runs that it keeps and the others that it stops.

    `accepted` stands in the order of ascending values.
    """
    goods = sum(accepted)
    bads = len(accepted) - goods
    found = []
    refused = 0
    last = 0
    for at in cuts:
        refused += (at - last) - sum(accepted[last:at])
        last = at
        kept = goods - (at - refused)
        found.append((kept * bads + refused * goods - goods * bads, kept, refused))
    return found


def _nearest(below: float, above: float, present: float | None) -> float:
    """The present value if it lies there, else a round number near the middle."""
    if present is not None and below < present <= above:
        return present
    middle = (below + above) / 2
    rounded = (round(middle, digits) for digits in range(2, 10))
    return next((value for value in rounded if below < value <= above), above)


def _resampled(
    values: Sequence[float], runs: Sequence[Tried], present: float | None, rng: Random
) -> tuple[tuple[float, float] | None, float | None]:
    """The 95 % ends of the cut, and how well it does on the runs that a resample left out.

    Runs are drawn anew, and in each run its pairs: both are samples.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), 13.3 and 17.6.
    """
    every = range(len(runs))
    chances = [_chance(run) for run in runs]
    cuts: list[float] = []
    # Of the accepted and of the other runs left out: how many, and how many were told rightly.
    seen, right = [0, 0], [0, 0]
    for _ in range(RESAMPLES):
        drawn = rng.choices(every, k=len(runs))
        accepted = [rng.random() < chances[i] for i in drawn]
        cut = best_cut([values[i] for i in drawn], accepted, present)
        if cut is None:
            continue
        cuts.append(cut.value)
        for i in set(every) - set(drawn):
            good = runs[i].accepted
            seen[good] += 1
            right[good] += (values[i] >= cut.value) == good
    if len(cuts) < LEAST_USED or not all(seen):
        return None, None
    cuts.sort()
    ends = cuts[int(0.025 * len(cuts))], cuts[int(0.975 * len(cuts))]
    return ends, (right[0] / seen[0] + right[1] / seen[1]) / 2


def _chance(run: Tried) -> float:
    """How probable it is that people accept a run, had they seen other pairs of it."""
    n, share = run.pairs, run.liked / run.pairs
    half = range((n + 1) // 2, n + 1)
    return sum(math.comb(n, k) * share**k * (1 - share) ** (n - k) for k in half)


def _luck(values: Sequence[float], accepted: Sequence[bool], gain: int, rng: Random) -> float:
    """The chance that the best cut gains so much where votes and metric have nothing in common.

    The cut is chosen anew each time, so that choosing it is paid for.
    Source: permutation tests, e.g. Phipson and Smyth, Stat. Appl. Genet. Mol. Biol. 9 (2010), 39.
    """
    cuts = _cuts(sorted(values))
    shuffled = list(accepted)
    as_good = 0
    for _ in range(SHUFFLES):
        rng.shuffle(shuffled)
        gains = _gains(shuffled, cuts)
        as_good += any(found >= gain for found, _, _ in gains)
    return (1 + as_good) / (1 + SHUFFLES)


def plain_number(value: float) -> str:
    """As gates are written: no exponent, and no more digits than it has."""
    text = f"{value:.9f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def yaml_lines(thresholds: Sequence[Threshold]) -> list[str]:
    """What to paste into the config: the gates that are there, or the best where there is none.

    A run has to hold them all, so that others that separate too only stand as remarks.
    """
    sound = [threshold for threshold in thresholds if threshold.sound]
    present = [threshold for threshold in sound if threshold.present is not None]
    taken = present or sound[:1]
    lines = [f'      {t.metric}: "{t.condition}"' for t in taken]
    lines += [
        f'      # instead, or as well: {t.metric}: "{t.condition}"' for t in sound if t not in taken
    ]
    return ["defaults:", "  qa:", "    gates:", *lines] if sound else []
