"""What a simulation found, and how the shares of time in it are counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lora_ci.execution.fleet.time import HOUR_S

# A service that is at it may still take so long to move a step on.
PROMPT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How a time is spread, in hours; zeros of nothing."""

    mean: float = 0.0
    p50: float = 0.0
    p95: float = 0.0
    most: float = 0.0


def spread_of(seconds: Sequence[float]) -> Spread:
    """The spread of times."""
    if not seconds:
        return Spread()
    hours = sorted(s / HOUR_S for s in seconds)

    def quantile(share: float) -> float:
        return hours[min(len(hours) - 1, int(share * len(hours)))]

    mean = sum(hours) / len(hours)
    return Spread(mean=mean, p50=quantile(0.5), p95=quantile(0.95), most=hours[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """How it stands at a time: GPUs that work, GPUs that are busy, steps that ask for one."""

    at_h: float
    well: int
    busy: int
    wanted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What came of a scenario. Times in hours; shares from 0 to 1.

    `good` LoRAs are those whose dataset is in order; `turnaround` is theirs, from the push to the
    end. `utilisation` is how long GPUs were busy of how long they could have been: as many as
    worked, or as many as steps asked for, if those were fewer. `available` is the share of time in
    which pushes were taken and nothing that could have moved on had to wait for more than a minute.
    """

    gpus: int
    loras: int
    good: int
    passed: int
    refused: int
    success: float
    turnaround: Spread
    wait: Mapping[str, Spread]
    utilisation: float
    load: float
    available: float
    lasted_days: float
    gpu_h: float
    gpu_h_lost: float
    cost: float
    faults: Mapping[str, int]
    attempts: int
    ticks: int
    moments: tuple[Moment, ...] = ()
    turnarounds_h: tuple[float, ...] = ()


@dataclass(slots=True)
class Meter:
    """Adds up shares of time. What it is told holds until it is told anew."""

    at_s: float = 0.0
    busy_s: float = 0.0
    bound_s: float = 0.0
    well_s: float = 0.0
    out_s: float = 0.0
    sample_s: float = HOUR_S
    moments: list[Moment] = field(default_factory=list)

    def pass_to(
        self, at_s: float, *, well: int, busy: int, wanted: int, out_since_s: float | None
    ) -> None:
        """Time goes on: until `at_s` it was so; nothing moved on since `out_since_s`, if given."""
        took_s = at_s - self.at_s
        self.busy_s += busy * took_s
        self.bound_s += max(busy, min(well, wanted)) * took_s
        self.well_s += well * took_s
        if out_since_s is not None:
            self.out_s += max(0.0, at_s - max(self.at_s, out_since_s))
        while len(self.moments) * self.sample_s <= at_s:
            hours = len(self.moments) * self.sample_s / HOUR_S
            self.moments.append(Moment(at_h=hours, well=well, busy=busy, wanted=wanted))
        self.at_s = at_s
