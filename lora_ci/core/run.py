"""A finished or running run as a value: what reports, comments and pages are rendered from."""

from __future__ import annotations

from dataclasses import dataclass

from lora_ci.core.event import Event
from lora_ci.core.plan import Decision, Plan
from lora_ci.core.step import Outcome, StepResult


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """A decision and its result; the result is None while the step has not ended."""

    decision: Decision
    result: StepResult | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """All that a run decided and found. `released` maps a LoRA to its newest released version."""

    run_id: str
    event: Event
    plan: Plan
    steps: tuple[StepView, ...]
    started_at: str
    duration_s: float
    outcome: Outcome

    def of(self, lora: str) -> tuple[StepView, ...]:
        """The steps of one LoRA, in stage order."""
        return tuple(s for s in self.steps if s.decision.lora == lora)

    def loras(self) -> tuple[str, ...]:
        """Names of the LoRAs in plan order."""
        return tuple(dict.fromkeys(s.decision.lora for s in self.steps))
