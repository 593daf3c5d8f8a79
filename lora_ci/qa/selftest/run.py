"""Judges cases of known truth by the very judge that judges adapters, and keeps what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from lora_ci.core.metrics import FIVE_TESTS
from lora_ci.core.settings import QaSettings
from lora_ci.core.step import Outcome
from lora_ci.qa.measures.table import MEASURES
from lora_ci.qa.scores import PASS_MARK
from lora_ci.qa.selftest.cases import FAULTS, Case, Fault, fault_case, sound_case
from lora_ci.qa.selftest.studio import (
    CANDIDATE,
    COMPANION_NAME,
    RELEASED,
    TRIGGER,
    WorldEmbedder,
    WorldScanner,
    WorldStudio,
    caption_of,
    chance,
    real_pictures,
    training_name,
)
from lora_ci.qa.selftest.truth import population
from lora_ci.qa.selftest.world import World
from lora_ci.qa.sitting import Bench, Sitting, sit
from lora_ci.ruler.feature_cache import CachedEmbedder
from lora_ci.ruler.prompts import Prompts

# Prompts are drawn from so many: hardly any is drawn twice.
SCENES = 2**40
# Captions of training pictures that are asked for.
RECALLED = 6
# A fault is met an eighth as often as all sound adapters together: there are many faults.
SOUND_A_FAULT = 8

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What the judge said of a case, and where the truth lay.

    `measured` are the tests that measured something, `blamed` those that surely did not come out
    well. `sides`: by metric, -1 where the truth lay below the 95 % interval, 1 above, 0 within.
    """

    fault: Fault | None
    outcome: Outcome
    measured: frozenset[str]
    blamed: frozenset[str]
    sides: Mapping[str, int]

    @property
    def found(self) -> bool:
        """True if the test that ought to has named the fault, and the verdict stops what it must.

        Never true of a sound adapter.
        """
        fault = self.fault
        return (
            fault is not None
            and fault.test in self.blamed
            and (not fault.stops or self.outcome is Outcome.FAILED)
        )


def run(cases: int, seed: int, progress: Progress) -> list[Observed]:
    """Judges so many sound adapters, and an eighth as many of each fault; always the same ones."""
    total = cases + len(FAULTS) * _of_each(cases)
    observed = []
    for done, case in enumerate(all_cases(cases, seed)):
        progress(done, total)
        observed.append(observe(case))
    progress(total, total)
    return observed


def all_cases(cases: int, seed: int) -> Iterator[Case]:
    """Sound ones first."""
    for number in range(cases):
        yield sound_case(np.random.default_rng([seed, 0, number]))
    for kind, fault in enumerate(FAULTS, 1):
        for number in range(_of_each(cases)):
            yield fault_case(fault, np.random.default_rng([seed, kind, number]))


def _of_each(cases: int) -> int:
    """How many cases of each fault."""
    return max(cases // SOUND_A_FAULT, 1)


def observe(case: Case) -> Observed:
    """Judges one case."""
    sitting = sit(bench_of(case), studio_of(case))
    return Observed(
        fault=case.fault,
        outcome=sitting.verdict.outcome,
        measured=frozenset(name for name, read in sitting.readings.items() if read.metrics),
        blamed=blamed(sitting),
        sides=sides(case, sitting),
    )


def studio_of(case: Case) -> WorldStudio:
    """Draws with the adapters of a case."""
    adapters = {CANDIDATE: case.candidate}
    if case.released:
        adapters[RELEASED] = case.released
    return WorldStudio(world=case.world, adapters=adapters)


def bench_of(case: Case) -> Bench:
    """What the judge gets to see of a case."""
    world, sizes = case.world, case.world.sizes
    return Bench(
        settings=QaSettings(seeds=sizes.seeds),
        trigger=TRIGGER,
        prompts=prompts_of(world),
        embedder=CachedEmbedder(
            spec="selftest:",
            identity="selftest",
            license=None,
            knows_texts=True,
            opener=lambda: WorldEmbedder(world),
            cache=None,
        ),
        references=real_pictures(world, "reference", sizes.references),
        training=real_pictures(world, "training", sizes.training),
        candidate=CANDIDATE,
        released=RELEASED if case.released else None,
        companion=COMPANION_NAME if case.companion else None,
        scanner=WorldScanner(),
    )


def prompts_of(world: World) -> Prompts:
    """Prompts of the world, each for a scene of its own."""
    sizes, source = world.sizes, chance(world, "prompts")

    def scenes(count: int) -> tuple[str, ...]:
        return tuple(f"scene {source.integers(SCENES)}" for _ in range(count))

    contexts = scenes(sizes.flexibility)
    return Prompts(
        identity=tuple(f"{TRIGGER}, {scene}" for scene in scenes(sizes.prompts)),
        flexibility=tuple(f"{TRIGGER}, {scene}" for scene in contexts),
        contexts=contexts,
        bare=scenes(sizes.bare),
        recalled=tuple(caption_of(training_name(n)) for n in range(RECALLED)),
    )


def blamed(sitting: Sitting) -> frozenset[str]:
    """The tests that surely did not come out well: below the pass mark, or a limit is broken."""
    verdict = sitting.verdict
    low = {
        name
        for name in FIVE_TESTS
        if (score := sitting.readings[name].score) and (score.interval().high or 0.0) < PASS_MARK
    }
    failed = {gate.metric for gate in verdict.gates if gate.outcome is Outcome.FAILED}
    broken = {m.name for m in MEASURES if failed.intersection(m.limits)}
    return frozenset(low | broken | {c.name for c in verdict.checks if c.sound is False})


def sides(case: Case, sitting: Sitting) -> dict[str, int]:
    """On which side of its 95 % interval the truth of each metric lies; an open side has no end."""
    scale = sitting.evidence.scale
    if scale is None:
        return {}
    truths = population(
        case.world,
        case.candidate,
        scale.whole,
        released=case.released,
        companion=case.companion,
    )
    found = {}
    for metric, truth in truths.items():
        estimate = sitting.verdict.metrics.get(metric)
        ends = estimate.interval() if estimate else None
        if ends is None or (ends.low is None and ends.high is None):
            continue
        above = ends.high is not None and truth > ends.high
        below = ends.low is not None and truth < ends.low
        found[metric] = int(above) - int(below)
    return found
