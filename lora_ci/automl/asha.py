"""Early stopping by successive halving: only the best of a rung get a longer budget.

Source: Li et al., 2018, A System for Massively Parallel Hyperparameter Tuning, arXiv:1810.05934,
algorithm 2. A rung is finished before the next one begins, as a sweep does all of a rung in one go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
