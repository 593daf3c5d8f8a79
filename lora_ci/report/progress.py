"""How far a run is that still goes on, and what is left to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lora_ci.core.plan import Action, Estimate
from lora_ci.core.run import StepView
from lora_ci.core.step import Progress
from lora_ci.plan.estimate import PRIOR


@dataclass(frozen=True, slots=True)
class Stages:
    """Stages by what has become of them; what is blocked is none of them."""

    done: tuple[StepView, ...]
    running: tuple[StepView, ...]
    to_come: tuple[StepView, ...]


def sort_stages(steps: Iterable[StepView]) -> Stages:
    """Done, running and to come, each in the order of the plan."""
    given = tuple(steps)
    open_ones = [
        s for s in given if s.result is None and s.decision.action in (Action.RUN, Action.WAIT)
    ]
    return Stages(
        done=tuple(s for s in given if s.result),
        running=tuple(s for s in open_ones if s.progress),
        to_come=tuple(s for s in open_ones if not s.progress),
    )


def done_share(progress: Progress) -> float | None:
    """How much is done, from 0 to 1; None if nobody knows how much there is to do."""
    if progress.total <= 0:
        return None
    return max(0.0, min(1.0, progress.done / progress.total))


def percent(progress: Progress) -> str:
    """`45 %`; empty if it is not known. Full only once all is done."""
    share = done_share(progress)
    return "" if share is None else f"{int(share * 100)} %"


def progress_text(progress: Progress) -> str:
    """`270 of 600, loss 0.2171`; the note is foreign text."""
    if progress.total > 0:
        told = f"{progress.done:,} of {progress.total:,}"
        return f"{told}, {progress.note}" if progress.note else told
    return f"{progress.done:,} {progress.note}".rstrip()


def cost_to_go(steps: Iterable[StepView]) -> Estimate | None:
    """What stages without a result will still cost; None where no GPU is needed for them.

    Of a stage that runs, its part that is not done.
    """
    left, bases = [], dict[str, None]()
    for step in steps:
        cost = step.decision.estimate
        if cost is None or step.result is not None:
            continue
        done = done_share(step.progress) if step.progress else None
        left.append((1.0 - (done or 0.0), cost))
        bases[cost.basis] = None
    if not left:
        return None
    basis = PRIOR if PRIOR in bases else "; ".join(bases)
    low, high = (sum(part * getattr(cost, end) for part, cost in left) for end in ("low", "high"))
    return Estimate(low=low, high=high, basis=basis)


def is_guess(cost: Estimate) -> bool:
    """True if the cost rests on nothing that was measured."""
    return cost.basis == PRIOR
