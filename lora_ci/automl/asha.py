"""Early stopping by successive halving: only the best of a rung get a longer budget.

Source: Li et al., 2018, A System for Massively Parallel Hyperparameter Tuning, arXiv:1810.05934,
algorithm 2. A rung is finished before the next one begins, as a sweep does all of a rung in one go.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lora_ci.config.model import Lora
from lora_ci.core.digest import sha256_json
from lora_ci.core.settings import settings_json
from lora_ci.plan.training_rules import canonical

BUDGET_KEYS = ("train.epochs", "train.steps", "train.images_seen")
Rung = Mapping[str, float | None]


def promoted(rungs: Sequence[Rung], budgets: int, reduction: int) -> tuple[tuple[str, int], ...]:
    """Configurations to run next, each with the number of its rung; none where all is done.

    `rungs[k]` has the score of each configuration that was done with budget k, higher is better,
    None where it could not be measured: that goes no further. Of a rung, one in `reduction` goes
    on, rounded down and at least one, so that the longest budget is reached.

    Source: arXiv:1810.05934, algorithm 2, `get_job`.
    """
    for at in range(min(len(rungs), budgets - 1) - 1, -1, -1):
        ahead = rungs[at + 1] if at + 1 < len(rungs) else {}
        best = [name for name in top(rungs[at], reduction) if name not in ahead]
        if best:
            return tuple((name, at + 1) for name in best)
    return ()


def top(rung: Rung, reduction: int) -> tuple[str, ...]:
    """The best of a rung; of equal scores the one given first."""
    scores = {name: score for name, score in rung.items() if score is not None}
    count = max(1, len(rung) // reduction)
    return tuple(sorted(scores, key=lambda name: -scores[name])[:count])


@dataclass(frozen=True, slots=True)
class Ladder:
    """The variants of a matrix by configuration, each with its LoRAs from the shortest budget up.

    Configurations that train the same are one: else they would take the places of others.
    """

    steps: Mapping[str, tuple[str, ...]]

    def first(self) -> frozenset[str]:
        """The LoRAs with the shortest budget."""
        return frozenset(loras[0] for loras in self.steps.values())

    def next(self, scores: Mapping[str, float | None], reduction: int) -> frozenset[str]:
        """The LoRAs to go on with; `scores` are of those that are done, higher is better."""
        height = max(map(len, self.steps.values()))
        rungs = [
            {
                name: scores[loras[at]]
                for name, loras in self.steps.items()
                if at < len(loras) and loras[at] in scores
            }
            for at in range(height)
        ]
        chosen = promoted([rung for rung in rungs if rung], height, reduction)
        return frozenset(self.steps[name][at] for name, at in chosen if at < len(self.steps[name]))


def ladder_of(loras: Sequence[Lora]) -> Ladder | None:
    """The variants of one matrix by configuration; None where they have one budget."""
    steps: dict[str, dict[int, str]] = defaultdict(dict)
    for lora in loras:
        budget = next((lora.variant[key] for key in BUDGET_KEYS if key in lora.variant), None)
        if budget is None:
            return None
        train = replace(canonical(lora.train), images_seen=None, epochs=None, steps=None)
        alike = replace(lora, name="", variant={}, train=train)
        steps[sha256_json(settings_json(alike))].setdefault(budget, lora.name)
    made = {key: tuple(its[budget] for budget in sorted(its)) for key, its in steps.items()}
    return Ladder(made) if any(len(its) > 1 for its in made.values()) else None
