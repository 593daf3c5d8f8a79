"""The LoRAs of a simulation: when each comes, from where, and how long its stages take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random

from lora_ci.core.step import Stage
from lora_ci.execution.fleet.scenario import Arrivals, Family, Fault, Scenario
from lora_ci.execution.fleet.time import DAY_S, HOUR_S

STAGES = (Stage.VALIDATE, Stage.TRAIN, Stage.QA, Stage.OPTIMIZE)
# Shortest and longest, on a card of 24 GB: 1,500 steps at rank 16, 100 pictures to judge.
MINUTES: Mapping[Stage, tuple[float, float]] = {
    Stage.VALIDATE: (0.5, 2.0),
    Stage.QA: (5.0, 8.0),
    Stage.OPTIMIZE: (2.0, 4.0),
}
TRAINING_MINUTES: Mapping[Family, tuple[float, float]] = {
    Family.SD15: (10.0, 15.0),
    Family.SDXL: (45.0, 90.0),
}
# A share of datasets that cannot pass, at the usual rate of faults.
BAD = 0.05
OFFICE_HOURS = range(9, 18)
WORKDAYS = 5
# How much more comes in an hour of work than in one of leisure.
OFFICE_WEIGHT = 10.0
BURST_LORAS = 20
BURST_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """A LoRA that somebody pushes; `good` is one whose dataset is in order."""

    name: str
    repo: str
    at_s: float
    good: bool
    family: Family
    stage_s: Mapping[Stage, float]


def draw_loras(scenario: Scenario) -> list[Lora]:
    """All that come, by time; the same for the same scenario, however many GPUs there are."""
    rng = Random(f"arrivals {scenario.seed}")
    return [
        _draw(scenario, number, at_s, repo)
        for number, (at_s, repo) in enumerate(sorted(_arrivals(scenario, rng)))
    ]


def gpu_hours(loras: list[Lora]) -> float:
    """What the good ones take of GPUs if nothing goes wrong."""
    seconds = (lora.stage_s[s] for lora in loras if lora.good for s in STAGES[1:])
    return sum(seconds) / HOUR_S


def _draw(scenario: Scenario, number: int, at_s: float, repo: str) -> Lora:
    rng = Random(f"lora {scenario.seed} {number}")
    families = list(scenario.mix)
    family = rng.choices(families, [scenario.mix[f] for f in families])[0]
    bad = min(1.0, BAD * scenario.faults.get(Fault.DATA, 0.0))
    spans = {**MINUTES, Stage.TRAIN: TRAINING_MINUTES[family]}
    return Lora(
        name=f"lora-{number}",
        repo=repo,
        at_s=at_s,
        good=rng.random() >= bad,
        family=family,
        stage_s={stage: 60.0 * rng.uniform(*spans[stage]) for stage in STAGES},
    )


def _arrivals(scenario: Scenario, rng: Random) -> Iterator[tuple[float, str]]:
    repos = [f"team-{n + 1}/loras" for n in range(scenario.repositories)]
    # The second repository pushes half as much as the first, the third a third, and so on.
    weights = [1.0 / (n + 1) for n in range(scenario.repositories)]
    if scenario.arrivals is not Arrivals.BURST:
        for at_s in _moments(scenario, rng, scenario.loras_per_day):
            yield at_s, rng.choices(repos, weights)[0]
        return
    for at_s in _moments(scenario, rng, scenario.loras_per_day / BURST_LORAS):
        repo = rng.choices(repos, weights)[0]
        for _ in range(BURST_LORAS):
            yield at_s + rng.uniform(0.0, BURST_S), repo


def _moments(scenario: Scenario, rng: Random, per_day: float) -> Iterator[float]:
    """A Poisson process whose rate differs by the hour; `per_day` on average of a week."""
    week = [1.0] * 7 * 24
    if scenario.arrivals is Arrivals.OFFICE:
        week = [
            OFFICE_WEIGHT if hour // 24 < WORKDAYS and hour % 24 in OFFICE_HOURS else 1.0
            for hour in range(len(week))
        ]
    mean = sum(week) / len(week)
    hour, left = 0, rng.expovariate(1.0)
    while hour * HOUR_S < scenario.days * DAY_S:
        expected = per_day / 24 * week[hour % len(week)] / mean
        at = 0.0
        while left < expected * (1.0 - at):
            at += left / expected
            moment = (hour + at) * HOUR_S
            if moment < scenario.days * DAY_S:
                yield moment
            left = rng.expovariate(1.0)
        left -= expected * (1.0 - at)
        hour += 1
