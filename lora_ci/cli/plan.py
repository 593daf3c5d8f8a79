"""`lora-ci plan`: what a commit changes, what would run, and why."""

from __future__ import annotations

import argparse
from dataclasses import replace
from datetime import datetime

from lora_ci.app.anew import Anew, AnewRecords
from lora_ci.app.announce import publish_running
from lora_ci.app.bundle import write_bundle
from lora_ci.app.commands import Run
from lora_ci.app.plan_event import plan_event
from lora_ci.app.scope import Scope
from lora_ci.app.source import Gathered, Source
from lora_ci.cli.events import Nothing, add_event_arguments, open_event, read_asked
from lora_ci.cli.hub import add_forge_arguments, open_hub, run_id_of
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.cli.outputs import tell_nothing, tell_plan
from lora_ci.cli.wire import add_place_arguments, open_past
from lora_ci.core.clock import Clock, SystemClock, new_run_id
from lora_ci.core.errors import ExitCode
from lora_ci.core.event import Event
from lora_ci.core.finding import Severity
from lora_ci.core.plan import Plan
from lora_ci.core.run import RunView, StepView
from lora_ci.plan.records import Records
from lora_ci.report.plan_comment import render_plan_markdown
from lora_ci.report.text import render_plan_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which commit, compared with which."""
    add_event_arguments(parser)
    parser.add_argument("--markdown", action="store_true", help="as a comment on a git host")
    add_place_arguments(parser)
    add_forge_arguments(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Prints the plan, and shows on the git host what will run; runs nothing."""
    hub, clock = open_hub(args), SystemClock()
    try:
        asked = read_asked(args, hub.host)
    except Nothing as nothing:
        tell_nothing(hub.job)
        output.result(f"nothing to do: {nothing}", {"nothing": str(nothing)}, schema="nothing")
        return ExitCode.PASSED
    with hub.refusing(asked):
        event, source = open_event(args, asked, hub.host)
        past = open_past(args, source, hub)
        asked = dated(asked, clock)
        plan, gathered = plan_asked(asked, event, source, past.records, clock)
    view = planned(plan, event, clock, run_id_of(args))
    if args.bundle:
        write_bundle(args.bundle, view, (), past.store, name=args.bundle_name)
    output.findings(past.findings())
    if hub.forge:
        output.findings(publish_running(view, hub.forge, hub.host))
    needs = {name: lora.needs for name, lora in gathered.config.loras.items()}
    tell_plan(hub.job, plan, needs, asked)
    hub.job.write_summary(render_plan_markdown(plan))
    return show(plan, output, markdown=args.markdown)


def dated(asked: Run | None, clock: Clock) -> Run | None:
    """What is asked for, with a time where something is to be made anew: jobs must agree on it."""
    if asked is None or not asked.retrain or asked.asked_at:
        return asked
    return replace(asked, asked_at=clock.now().isoformat())


def plan_asked(
    asked: Run | None, event: Event, source: Source, records: Records, clock: Clock
) -> tuple[Plan, Gathered]:
    """The plan of the LoRAs that were asked for. Raises UsageError: there is no such LoRA."""
    loras = frozenset(asked.loras) if asked and asked.loras else None
    scope, anew = Scope(loras=loras), None
    if asked and asked.retrain and asked.asked_at:
        anew = Anew(loras=loras, since=datetime.fromisoformat(asked.asked_at))
        records = AnewRecords(records, anew)
    plan, gathered = plan_event(event, source, records, clock, scope)
    plan = scope.with_needs(gathered.config).narrow(plan)
    return anew.explain(plan) if anew else plan, gathered


def planned(plan: Plan, event: Event, clock: Clock, run_id: str | None) -> RunView:
    """The run that the plan is the start of: what is reused is there already."""
    steps = [
        StepView(decision=d, result=d.record.result if d.record else None) for d in plan.decisions
    ]
    return RunView(
        run_id=run_id or new_run_id(clock),
        event=event,
        plan=plan,
        steps=tuple(steps),
        started_at=clock.now().isoformat(timespec="seconds"),
        duration_s=0.0,
        outcome=None,
    )


def show(plan: Plan, output: Output, *, markdown: bool) -> int:
    """Prints a plan; the exit code says whether its inputs can be used."""
    text = render_plan_markdown(plan) if markdown else render_plan_text(plan)
    output.result(text, plan, schema="plan")
    output.findings(plan.findings)
    failed = any(f.severity is Severity.ERROR for f in plan.findings)
    return ExitCode.FAILED if failed else ExitCode.PASSED
