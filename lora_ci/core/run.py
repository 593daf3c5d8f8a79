"""A finished or running run as a value: what reports, comments and pages are rendered from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lora_ci.core.event import Event
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.plan import Action, Decision, Plan
from lora_ci.core.shard import owner_of
from lora_ci.core.step import Outcome, Progress, Stage, StepResult
from lora_ci.core.sweep import Sweep

# Worst first: a run is as bad as its worst step.
WORST_FIRST = (
    Outcome.ERROR,
    Outcome.INTERRUPTED,
    Outcome.FAILED,
    Outcome.INCONCLUSIVE,
    Outcome.PASSED,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """A decision and its result; the result is None while the step has not ended.

    `progress` is how far a step is that runs now.
    """

    decision: Decision
    result: StepResult | None = None
    progress: Progress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteCount:
    """How people chose, blind, between pictures by the adapter of a judgement and others.

    `fingerprint` is that of the judgement; the others are by the released adapter, or by the base.
    `kappa` is Cohen's, of people against the judge, with its 95 % interval; None where it is not
    defined.
    """

    lora: str
    fingerprint: str
    count: int
    preferred_new: int
    preferred_other: int
    ties: int
    kappa: float | None = None
    kappa_low: float | None = None
    kappa_high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """What was on record of a LoRA's dataset as it is at the commit that is compared with.

    `rules` has the number of findings by rule.
    """

    lora: str
    metrics: Mapping[str, float]
    rules: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """All that a run decided and found. `notes` say what could not be published.

    `outcome` is None while the run goes on; `sweeps` say what came of matrices, `votes` how people
    chose where they looked at pictures of this run, `earlier` what datasets were before the change.
    """

    run_id: str
    event: Event
    plan: Plan
    steps: tuple[StepView, ...]
    started_at: str
    duration_s: float
    outcome: Outcome | None
    notes: tuple[Finding, ...] = ()
    sweeps: tuple[Sweep, ...] = ()
    votes: tuple[VoteCount, ...] = ()
    earlier: tuple[Earlier, ...] = ()

    def of(self, lora: str) -> tuple[StepView, ...]:
        """The steps of one LoRA, or of one shard, in stage order."""
        return tuple(s for s in self.steps if s.decision.lora == lora)

    def whole(self, lora: str) -> tuple[StepView, ...]:
        """The steps of one LoRA and of its shards, in plan order."""
        return tuple(s for s in self.steps if owner_of(s.decision.lora) == lora)

    def shards(self, lora: str) -> tuple[StepView, ...]:
        """The steps of the shards of one LoRA, none where it is trained in one."""
        return tuple(s for s in self.whole(lora) if s.decision.lora != lora)

    def loras(self) -> tuple[str, ...]:
        """Names of the LoRAs in plan order; shards are parts of theirs."""
        return tuple(dict.fromkeys(owner_of(s.decision.lora) for s in self.steps))


def overall_outcome(steps: tuple[StepView, ...]) -> Outcome:
    """The worst outcome of the steps; a stage that ought to run and has no result is an error.

    Inputs that cannot be used block the first stage, a release the last: both are failures. What
    else is blocked (a budget, an approval) was not measured, which is no pass.
    """
    outcomes = {step.result.outcome for step in steps if step.result}
    if any(s.result is None and s.decision.action is Action.RUN for s in steps):
        outcomes.add(Outcome.ERROR)
    blocked = {s.decision.stage for s in steps if s.decision.action is Action.BLOCKED}
    if blocked & {Stage.VALIDATE, Stage.DEPLOY}:
        outcomes.add(Outcome.FAILED)
    elif blocked:
        outcomes.add(Outcome.INCONCLUSIVE)
    return next((outcome for outcome in WORST_FIRST if outcome in outcomes), Outcome.PASSED)


def run_outcome(plan: Plan, steps: tuple[StepView, ...], *, interrupted: bool) -> Outcome:
    """What a run came to; a signal counts before all else, and doing nothing is a failure."""
    if interrupted:
        return Outcome.INTERRUPTED
    if not steps and any(f.severity is Severity.ERROR for f in plan.findings):
        return Outcome.FAILED
    return overall_outcome(steps)
