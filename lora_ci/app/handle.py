"""From an event to a published run: the one flow behind the CLI, the Action and the bot."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lora_ci.app.gather import Gathered, gather
from lora_ci.app.publish import publish
from lora_ci.app.specs import make_spec
from lora_ci.app.wiring import Deps
from lora_ci.core.clock import new_run_id
from lora_ci.core.errors import ExitCode
from lora_ci.core.event import Event
from lora_ci.core.plan import Decision, Plan
from lora_ci.core.run import RunView, StepView, overall_outcome
from lora_ci.core.step import Outcome, Stage
from lora_ci.execution.drive import Reconciler, Watch
from lora_ci.plan.decide import decide

EXIT_CODES = {
    Outcome.PASSED: ExitCode.PASSED,
    Outcome.FAILED: ExitCode.FAILED,
    Outcome.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
    Outcome.ERROR: ExitCode.INFRASTRUCTURE,
    Outcome.INTERRUPTED: ExitCode.INTERRUPTED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What part of the plan is wanted: some LoRAs, or the stages up to `last`."""

    loras: frozenset[str] | None = None
    last: Stage | None = None

    def wants(self, decision: Decision) -> bool:
        """True if the decision lies inside the scope."""
        stages = list(Stage)
        inside = self.loras is None or decision.lora in self.loras
        return inside and (
            self.last is None or stages.index(decision.stage) <= stages.index(self.last)
        )


EVERYTHING = Scope()


def plan_event(event: Event, deps: Deps) -> tuple[Plan, Gathered]:
    """What the event changes and what would run. Reads git, manifests and records; runs nothing."""
    gathered = gather(event, deps)
    return plan_gathered(event, deps, gathered), gathered


def plan_gathered(event: Event, deps: Deps, gathered: Gathered) -> Plan:
    """The plan with the records as they are now."""
    return decide(
        gathered.config,
        gathered.facts,
        deps.ledger,
        changes=gathered.changes,
        event=event,
    )


def handle(event: Event, deps: Deps, *, scope: Scope = EVERYTHING, watch: Watch) -> RunView:
    """Does what the event asks for, once, and publishes the result.

    Plans, runs what the plan says, and plans again with the new records until nothing is left to
    run: later stages depend on what earlier ones made. Killed anywhere and called again, it goes
    on with what the ledger has.
    """
    started = deps.clock.monotonic()
    started_at = deps.clock.now().isoformat(timespec="seconds")
    run_id = new_run_id(deps.clock)
    plan, gathered = plan_event(event, deps)
    deps.ledger.start_run(run_id, event)
    reconciler = Reconciler(
        ledger=deps.ledger,
        executor=deps.executor,
        clock=deps.clock,
        state=deps.state,
        watch=watch,
    )
    first_plan, ran = plan, dict[tuple[str, Stage], Decision]()
    while wanted := [d for d in plan.to_run() if scope.wants(d) and (d.lora, d.stage) not in ran]:
        for decision in wanted:
            ran[decision.lora, decision.stage] = decision
            spec = make_spec(decision, plan, gathered, deps)
            deps.ledger.ensure_step(run_id, decision, spec, commit=event.head)
        reconciler.drive(run_id)
        plan = plan_gathered(event, deps, gathered)
    steps = tuple(
        StepView(
            decision=ran.get((d.lora, d.stage), d),
            result=deps.ledger.step_result(run_id, d.lora, d.stage)
            if (d.lora, d.stage) in ran
            else (d.record.result if d.record else None),
        )
        for d in plan.decisions
        if scope.wants(d)
    )
    view = RunView(
        run_id=run_id,
        event=event,
        plan=first_plan,
        steps=steps,
        started_at=started_at,
        duration_s=deps.clock.monotonic() - started,
        outcome=overall_outcome(steps),
    )
    deps.ledger.save_view(view)
    return replace(view, notes=publish(view, deps).notes)
