"""How often the judge was right: rates with Wilson intervals, and the targets that they miss. Pure.

Three rates, of which only the first two are errors of a verdict:

- found: the test that ought to named the fault, and the verdict was `failed` where it had to be;
- false alarm: a sound adapter `failed`, or a test blamed it. A sound adapter that came out
  `inconclusive` is no false alarm, it is counted apart;
- held: the 95 % interval of a metric held the truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from lora_ci.core.step import Outcome
from lora_ci.qa.measures.table import MEASURES
from lora_ci.qa.selftest.cases import FAULTS, Fault
from lora_ci.qa.selftest.run import Observed
from lora_ci.ruler.statistics import Share

FOUND = 0.95
ALARMS = 0.05
HELD = (0.93, 0.97)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Of how many intervals held the truth; where not, it lay `below` or `above` them."""

    share: Share
    below: int
    above: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TestTally:
    """One test. None: no case has its fault, or none of its metrics has a known truth.

    `alarms` are counted over the sound adapters of which it measured something.
    """

    name: str
    found: Share | None
    alarms: Share | None
    held: Share | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Everything counted. `passed`: sound ones that passed; `slipped`: stops that passed."""

    tests: tuple[TestTally, ...]
    faults: tuple[tuple[Fault, Share], ...]
    metrics: Mapping[str, Held]
    found: Share
    alarms: Share
    inconclusive: Share
    slipped: Share
    held: Share | None

    @property
    def misses(self) -> tuple[str, ...]:
        """The targets that are surely missed: the whole interval of a rate lies beyond them."""
        found = [
            ("all faults", self.found),
            *((f"{fault.test}: {fault.name}", share) for fault, share in self.faults),
        ]
        alarms = [
            ("sound adapters", self.alarms),
            *((f"test {test.name}", test.alarms) for test in self.tests if test.alarms),
        ]
        held = [(metric, held.share) for metric, held in self.metrics.items()]
        return (
            *_missing("found", found, FOUND, 1.0),
            *_missing("false alarms", alarms, 0.0, ALARMS),
            *_missing("passed", (("what must fail", self.slipped),), 0.0, ALARMS),
            *_missing("of intervals hold the truth", held, HELD[0], 1.0),
            *_missing("of intervals hold the truth", self._pooled, *HELD),
        )

    @property
    def wide(self) -> tuple[str, ...]:
        """The metrics whose intervals surely are wider than they need be: no error, but dear."""
        shares = ((metric, held.share) for metric, held in self.metrics.items())
        return tuple(_missing("of intervals hold the truth", shares, 0.0, HELD[1]))

    @property
    def _pooled(self) -> tuple[tuple[str, Share], ...]:
        return (("all metrics", self.held),) if self.held else ()


def tally(observed: Sequence[Observed]) -> Tally:
    """Counts. Needs at least one sound case, one with a fault, and one whose verdict must stop."""
    sound = [one for one in observed if one.fault is None]
    faulty = [one for one in observed if one.fault is not None]
    stops = [one for one in faulty if one.fault and one.fault.stops]
    metrics = _metrics(observed)
    return Tally(
        tests=tuple(
            TestTally(
                name=measure.name,
                found=_share(
                    one.found for one in faulty if one.fault and one.fault.test == measure.name
                ),
                alarms=_share(
                    measure.name in one.blamed for one in sound if measure.name in one.measured
                ),
                held=_pooled(
                    {name: held for name, held in metrics.items() if name in measure.metrics}
                ),
            )
            for measure in MEASURES
        ),
        faults=tuple(
            (fault, found)
            for fault in FAULTS
            if (found := _share(one.found for one in faulty if one.fault == fault))
        ),
        metrics=metrics,
        found=_sure_share(one.found for one in faulty),
        alarms=_sure_share(one.outcome is Outcome.FAILED for one in sound),
        inconclusive=_sure_share(one.outcome is Outcome.INCONCLUSIVE for one in sound),
        slipped=_sure_share(one.outcome is Outcome.PASSED for one in stops),
        held=_pooled(metrics),
    )


def rate_text(share: Share) -> str:
    """`98 % (95 to 99 %) of 200`."""
    ends = share.interval()
    low, high = round(100 * (ends.low or 0.0)), round(100 * (ends.high or 0.0))
    return f"{100 * share.mean:.0f} % ({low} to {high} %) of {share.n}"


def _missing(
    what: str, shares: Iterable[tuple[str, Share]], least: float, most: float
) -> Iterator[str]:
    """Those that surely lie outside."""
    for name, share in shares:
        ends = share.interval()
        if (ends.high or 0.0) < least or (ends.low or 0.0) > most:
            expected = f"{100 * least:g} to {100 * most:g} %"
            yield f"{name}: {rate_text(share)} {what}, expected {expected}"


def _metrics(observed: Sequence[Observed]) -> dict[str, Held]:
    names = dict.fromkeys(name for one in observed for name in one.sides)
    found = {}
    for name in names:
        sides = [one.sides[name] for one in observed if name in one.sides]
        found[name] = Held(
            share=Share(hits=sides.count(0), n=len(sides)),
            below=sides.count(-1),
            above=sides.count(1),
        )
    return found


def _pooled(metrics: Mapping[str, Held]) -> Share | None:
    """Metrics of one case share its luck: together they tell as much as one of them does."""
    shares = [held.share for held in metrics.values()]
    if not shares:
        return None
    n = sum(share.n for share in shares)
    alike = n / max(share.n for share in shares)
    return Share(hits=sum(share.hits for share in shares), n=n, alike=alike)


def _share(found: Iterable[bool]) -> Share | None:
    every = list(found)
    return Share(hits=sum(every), n=len(every)) if every else None


def _sure_share(found: Iterable[bool]) -> Share:
    every = list(found)
    return Share(hits=sum(every), n=len(every))
