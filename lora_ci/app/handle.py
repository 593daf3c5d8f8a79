"""From an event to a published run: the one flow behind the CLI, `pipeline.run` and the bot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from lora_ci.app.announce import publish_running
from lora_ci.app.bundle import write_bundle
from lora_ci.app.earlier import with_earlier
from lora_ci.app.live import Announcer
from lora_ci.app.plan_event import plan_event, plan_gathered
from lora_ci.app.publish import publish
from lora_ci.app.scope import EVERYTHING, Scope
from lora_ci.app.source import Gathered
from lora_ci.app.specs import make_spec
from lora_ci.app.sweep import EXHAUSTIVE, Search, sweeps_of, with_sweeps
from lora_ci.app.wiring import Deps
from lora_ci.core.clock import new_run_id
from lora_ci.core.errors import ExitCode, Interrupted, LoraCIError
from lora_ci.core.event import Event, EventKind
from lora_ci.core.finding import Finding
from lora_ci.core.plan import Action, Decision, Plan, Record
from lora_ci.core.run import RunView, StepView, run_outcome
from lora_ci.core.shard import owner_of
from lora_ci.core.step import Outcome, Stage, StepResult
from lora_ci.execution.executor import step_folder
from lora_ci.execution.turns import INTERACTIVE, SCHEDULED, SEARCH
from lora_ci.steps.outcome import result_of

EXIT_CODES: dict[Outcome | None, ExitCode] = {
    None: ExitCode.INFRASTRUCTURE,
    Outcome.PASSED: ExitCode.PASSED,
    Outcome.FAILED: ExitCode.FAILED,
    Outcome.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
    Outcome.ERROR: ExitCode.INFRASTRUCTURE,
    Outcome.INTERRUPTED: ExitCode.INTERRUPTED,
}


def handle(
    event: Event,
    deps: Deps,
    *,
    scope: Scope = EVERYTHING,
    run_id: str | None = None,
    search: Search = EXHAUSTIVE,
) -> RunView:
    """Does what the event asks for, once, and publishes the result.

    What goes wrong in a stage is that stage's result, and a signal's is the outcome
    `interrupted`. Killed anywhere and called again, it goes on with what the ledger has.
    Jobs of one run share its `run_id`; else it is a new one. `search` says how the best of a
    matrix is looked for.

    Raises:
        UsageError: config, commit or scope are not there.
        InfrastructureError: nothing could be started or recorded.
    """
    started = deps.clock.monotonic()
    started_at = deps.clock.now().isoformat(timespec="seconds")
    run_id = run_id or new_run_id(deps.clock)
    plan, gathered = plan_event(event, deps.source, deps.records, deps.clock, scope)
    plan = deps.anew.explain(plan) if deps.anew else plan
    scope = scope.with_needs(gathered.config)
    deps.ledger.start_run(run_id, event)
    work = Work(run_id, event, deps, scope, gathered, plan, search)
    announcer = Announcer(partial(publish_running, forge=deps.forge, host=deps.host), deps.clock)

    def view_now() -> RunView:
        return RunView(
            run_id=run_id,
            event=event,
            plan=work.scope.narrow(plan),
            steps=work.steps(),
            started_at=started_at,
            duration_s=deps.clock.monotonic() - started,
            outcome=None,
        )

    deps.ledger.save_plan(view_now())
    # With a bundle, this is one job of several: the one that reports speaks for all.
    if deps.bundle is None:
        deps.live.moved = partial(announcer.offer, view_now)
    try:
        if work.wanted():
            deps.live.moved()
        work.do(view_now)
        view = view_now()
        view = replace(view, outcome=run_outcome(plan, view.steps, interrupted=work.interrupted))
        view = with_earlier(with_sweeps(view, deps.source, search), deps.source, deps.records)
        # First what counts: after a signal there may be seconds only.
        deps.ledger.save_view(view)
        left_out = (note for layer in deps.shared for note in layer.findings())
        notes = (*left_out, *keep(view, deps))
    finally:
        announcer.close()
    if deps.bundle is None:
        notes = (*notes, *publish(view, deps).notes)
    return replace(view, notes=notes)


def keep(view: RunView, deps: Deps) -> tuple[Finding, ...]:
    """Gives what the run did to other jobs and machines; what hinders that is only a note."""
    whole = deps.bundle.whole if deps.bundle else None
    decisions = [s.decision for s in view.steps]
    told = [d for d in decisions if d.action is Action.RUN or d.stage is whole]
    found = [deps.ledger.find(d.fingerprint.value) for d in told if d.fingerprint]
    records = tuple(record for record in found if record)
    if deps.bundle:
        place, name = deps.bundle.folder, deps.bundle.name
        write_bundle(place, view, records, deps.store, name=name, whole=whole)
        return ()
    return shared(records, deps, kept_in=None)


def shared(records: tuple[Record, ...], deps: Deps, *, kept_in: str | None) -> tuple[Finding, ...]:
    """Gives records to other machines; returns what hindered it."""
    try:
        return deps.share(records, kept_in=kept_in) if deps.share and records else ()
    except LoraCIError as error:
        return error.findings


Key = tuple[str, Stage]


@dataclass(slots=True)
class Work:
    """A run while it goes on: `ran` are the steps it began, `unborn` those with no spec."""

    run_id: str
    event: Event
    deps: Deps
    scope: Scope
    gathered: Gathered
    plan: Plan
    search: Search
    ran: dict[Key, Decision] = field(default_factory=dict)
    unborn: dict[Key, StepResult] = field(default_factory=dict)
    interrupted: bool = False

    def do(self, view_now: Callable[[], RunView]) -> None:
        """Runs what the plan says, and plans again, until nothing is left to run or to look for.

        Later stages depend on what earlier ones made. Where several steps may run at a time, what
        one lets begin does not wait for the others to end.
        """
        driver, room = self.deps.driver(self.run_id), self.deps.room
        try:
            while (wanted := self.wanted()) or self.left() or (wanted := self.further(view_now)):
                for decision in wanted:
                    self.begin(decision)
                left = self.left()
                if not driver.drive(self.run_id, leave=max(0, min(room or left, left) - 1)):
                    self.interrupted = True
                    return
                self.replan()
        except (KeyboardInterrupt, Interrupted):
            self.interrupted = True
            driver.stop(self.run_id)

    def left(self) -> int:
        """How many steps were begun and have not ended."""
        return len(self.deps.ledger.queue.unfinished(self.run_id))

    def further(self, view_now: Callable[[], RunView]) -> list[Decision]:
        """What the search for the best of a matrix asks for next, none at its end.

        Bounded: each round adds LoRAs to the scope.
        """
        while more := self.search.more(sweeps_of(view_now(), self.search)):
            known = self.scope.loras or frozenset()
            if more <= known:
                break
            self.scope = replace(self.scope, loras=known | more).with_needs(self.gathered.config)
            self.replan()
            if wanted := self.wanted():
                return wanted
        return []

    def replan(self) -> None:
        """Decides again with what is on record now."""
        deps, members = self.deps, self.scope.members()
        plan = plan_gathered(self.event, self.gathered, deps.records, deps.clock, members)
        self.plan = deps.anew.explain(plan) if deps.anew else plan

    def wanted(self) -> list[Decision]:
        """What is to run, is inside the scope and was not begun yet."""
        wants, begun = self.scope.wants, self.ran.keys()
        return [d for d in self.plan.to_run() if wants(d) and (d.lora, d.stage) not in begun]

    def begin(self, decision: Decision) -> None:
        """Gives the step to the ledger; inputs that cannot be laid out are its result."""
        key = decision.lora, decision.stage
        self.ran[key] = decision
        try:
            spec = make_spec(decision, self.plan, self.gathered, self.deps)
        except (LoraCIError, OSError) as error:
            place = self.deps.state / "inputs"
            self.unborn[key] = result_of(error, f"{decision.stage} of {decision.lora}", place)
            return
        if self.deps.anew and self.deps.anew.covers(decision):
            self.deps.anew.clear(step_folder(self.deps.state, spec.fingerprint))
            spec = self.deps.anew.from_the_start(spec)
        self.deps.ledger.queue.add(
            self.run_id,
            decision,
            spec,
            commit=self.event.head,
            folder=step_folder(self.deps.state, spec.fingerprint).path,
            repo=self.event.repo.lower(),
            priority=self.priority(decision.lora),
        )

    def priority(self, lora: str) -> int:
        """How soon a step is wanted: people go before the clock, a search comes last."""
        if any(variant.lora == owner_of(lora) for variant in self.plan.variants):
            return SEARCH
        return SCHEDULED if self.event.kind is EventKind.SCHEDULE else INTERACTIVE

    def steps(self) -> tuple[StepView, ...]:
        """Every decision in the scope with its result, as far as there is one."""
        return tuple(self.step(d) for d in self.plan.decisions if self.scope.wants(d))

    def step(self, decision: Decision) -> StepView:
        """A decision with what it came to; what a signal kept from being done is interrupted."""
        key = decision.lora, decision.stage
        if key in self.ran:
            decision = self.ran[key]
            found = self.unborn.get(key) or self.deps.ledger.queue.result(self.run_id, *key)
        else:
            found = decision.record.result if decision.record else None
        if found is None and self.interrupted and decision.action is Action.RUN:
            found = StepResult(outcome=Outcome.INTERRUPTED)
        progress = None if found else self.deps.live.progress.get(key)
        return StepView(decision=decision, result=found, progress=progress)
