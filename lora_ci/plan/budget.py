"""Whether a plan may spend what it is expected to cost."""

from __future__ import annotations

from dataclasses import dataclass

from lora_ci.core.plan import Estimate
from lora_ci.core.settings import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """GPU-hours that a plan may take: those of one run, and what is left of 30 days.

    None: no limit.
    """

    per_run: float | None = None
    left_of_month: float | None = None


NO_LIMIT = Budget()


def make_budget(policy: Policy, spent_gpu_hours: float) -> Budget:
    """The budget that a policy leaves after what was spent in the last 30 days."""
    month = policy.max_gpu_hours_per_month
    return Budget(
        per_run=policy.max_gpu_hours_per_run,
        left_of_month=None if month is None else max(0.0, month - spent_gpu_hours),
    )


def over_budget(cost: Estimate | None, budget: Budget) -> str | None:
    """Why the cost needs an approval; None if it does not."""
    if cost is None:
        return None
    about = f"about {cost.expected:.1f} GPU-hours ({cost.low:.1f} to {cost.high:.1f})"
    if budget.per_run is not None and cost.expected > budget.per_run:
        return f"over budget: {about}, `policy` allows {budget.per_run:g} a run; needs approval"
    if budget.left_of_month is not None and cost.expected > budget.left_of_month:
        left = f"{budget.left_of_month:.1f} of the month's are left"
        return f"over budget: {about}, {left}; needs approval"
    return None
