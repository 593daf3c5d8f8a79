"""What it saves to look at few seeds first, and what it costs in errors.

    python -m benchmarks.qa

Both rules judge the same adapters of known truth on the same pictures (`lora-ci qa selftest`). One
looks once, at all seeds, and may err as much as `qa.error` allows; the other is the judge's own.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.table import machine, render_table
from lora_ci.core.step import Outcome
from lora_ci.diffusion.request import Picture
from lora_ci.qa.evidence import Cost
from lora_ci.qa.measures.table import MEASURES
from lora_ci.qa.selftest.cases import Case
from lora_ci.qa.selftest.run import all_cases, bench_of, studio_of
from lora_ci.qa.selftest.studio import WorldStudio
from lora_ci.qa.sitting import Bench, Eyes, measure_cost, measure_losses, sit
from lora_ci.qa.studio import Studio, Worn
from lora_ci.qa.verdict import judge
from lora_ci.ruler.references import Reference
from lora_ci.ruler.statistics import share_of

BUDGETS = (4, 8)
CASES = 60
TARGET = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class CountingStudio:
    """A studio that keeps what it drew, as the album of a real one does."""

    studio: WorldStudio
    drawn: set[tuple[tuple[Worn, ...], str, int]] = field(default_factory=set)

    def draw(
        self, worn: tuple[Worn, ...], prompts: Sequence[str], seeds: Sequence[int]
    ) -> Mapping[str, Sequence[Picture]]:
        """Pictures by prompt, one a seed."""
        self.drawn.update((worn, prompt, seed) for prompt in prompts for seed in seeds)
        return self.studio.draw(worn, prompts, seeds)

    def losses(self, worn: tuple[Worn, ...], pictures: Sequence[Reference]) -> NDArray[np.float64]:
        """Losses need no pictures."""
        return self.studio.losses(worn, pictures)

    def cost(self, worn: Worn, prompt: str) -> Cost:
        """Nor do costs."""
        return self.studio.cost(worn, prompt)


@dataclass(slots=True)
class Rule:
    """How a rule did: pictures of each case, and how cases came out."""

    name: str
    pictures: list[int] = field(default_factory=list)
    sound: list[Outcome] = field(default_factory=list)
    faulty: list[Outcome] = field(default_factory=list)

    def count(self, case: Case, studio: CountingStudio, outcome: Outcome) -> None:
        """Adds a case."""
        self.pictures.append(len(studio.drawn))
        if case.fault is None:
            self.sound.append(outcome)
        elif case.fault.stops:
            self.faulty.append(outcome)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--cases", type=int, default=CASES, help="sound adapters a budget")
    cases = parser.parse_args().cases
    rows = []
    for budget in BUDGETS:
        fixed, growing = Rule("all seeds at once"), Rule("few seeds first")
        for case in with_budget(cases, budget):
            studio = CountingStudio(studio=studio_of(case))
            growing.count(case, studio, sit(bench_of(case), studio).verdict.outcome)
            studio = CountingStudio(studio=studio_of(case))
            fixed.count(case, studio, look_once(bench_of(case), studio))
        rows += [row(rule, budget, fixed) for rule in (fixed, growing)]
    heads = ("rule", "seeds", "pictures", "share", "sound passed", "sound failed")
    print(machine())
    print(render_table((*heads, "faulty failed", "faulty passed"), rows))
    print(f"target: a share of at most {TARGET:g}; faulty: faults that must fail")


def with_budget(cases: int, budget: int) -> list[Case]:
    """The cases of the self-test, each with so many seeds."""
    return [
        replace(
            case,
            world=replace(case.world, sizes=replace(case.world.sizes, seeds=budget)),
        )
        for case in all_cases(cases, 0)
        if case.fault is None or case.fault.stops
    ]


def look_once(bench: Bench, studio: Studio) -> Outcome:
    """The verdict on all seeds, which alone may err as much as all looks together."""
    losses, cost = measure_losses(bench, studio), measure_cost(bench, studio)
    evidence = Eyes(bench=bench, studio=studio).look(range(bench.settings.seeds), losses, cost)
    readings = {m.name: m.run(evidence) for m in MEASURES}
    return judge(MEASURES, readings, bench.settings.gates, bench.settings.error).outcome


def row(rule: Rule, budget: int, fixed: Rule) -> tuple[str, ...]:
    """One line of the table."""
    share = sum(rule.pictures) / sum(fixed.pictures)
    return (
        rule.name,
        str(budget),
        f"{np.mean(rule.pictures):.0f}",
        f"{share:.2f}",
        rate(rule.sound, Outcome.PASSED),
        rate(rule.sound, Outcome.FAILED),
        rate(rule.faulty, Outcome.FAILED),
        rate(rule.faulty, Outcome.PASSED),
    )


def rate(outcomes: Sequence[Outcome], wanted: Outcome) -> str:
    """A share in percent, with its 95 % interval."""
    ends = share_of(np.array([[outcome is wanted] for outcome in outcomes])).interval()
    low, high = 100 * (ends.low or 0.0), 100 * (ends.high or 0.0)
    return f"{100 * ends.mean:.1f} % ({low:.1f}–{high:.1f})"


if __name__ == "__main__":
    main()
