"""`lora-ci run`: does what the plan says and publishes the result."""

from __future__ import annotations

import argparse
import os
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from lora_ci.app.anew import Anew
from lora_ci.app.bundle import adapters_in
from lora_ci.app.commands import Run
from lora_ci.app.handle import EXIT_CODES, handle
from lora_ci.app.records import FORGE
from lora_ci.app.scope import EVERYTHING, Scope
from lora_ci.app.wiring import Deps
from lora_ci.cli.events import (
    Nothing,
    add_event_arguments,
    open_event,
    positive,
    read_asked,
    stage,
)
from lora_ci.cli.hub import Hub, add_forge_arguments, open_hub, run_id_of
from lora_ci.cli.junit import add_junit_argument, forget_junit, write_junit
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.cli.outputs import tell_run
from lora_ci.cli.wire import ACTIONS, add_place_arguments, open_wired, with_jobs
from lora_ci.core.errors import ExitCode, LoraCIError
from lora_ci.core.event import Event
from lora_ci.core.finding import Severity
from lora_ci.core.plan import Action
from lora_ci.core.run import RunView, StepView
from lora_ci.core.shard import parse_shard
from lora_ci.core.step import Outcome, Stage
from lora_ci.forge.local import REPORTS, page_file
from lora_ci.forge.payload import MOST_MESSAGE, Announced
from lora_ci.plan.decide import ADAPTER
from lora_ci.report.comment import render_comment
from lora_ci.report.text import render_run_text

SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which commit, how much of it, and where the steps run."""
    add_event_arguments(parser)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="LORA",
        help="this LoRA and what it needs; may be given again",
    )
    parser.add_argument(
        "--until",
        type=stage,
        metavar="STAGE",
        help="no stage after this one: " + ", ".join(Stage),
    )
    parser.add_argument(
        "--retrain", action="store_true", help="train and judge again what was done before"
    )
    parser.add_argument(
        "--asked-at",
        type=moment,
        metavar="TIME",
        help="when that was asked for: what was made since then counts (default: now)",
    )
    add_junit_argument(parser)
    add_common_arguments(parser)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Where steps run, and where results are kept and shown."""
    parser.add_argument(
        "--executor",
        type=executor_name,
        default=os.environ.get("LORA_CI_EXECUTOR") or "inline",
        metavar="WHERE",
        help="`inline`: in this process; `local`: each step in one of its own that outlives this "
        "one; `ray=URL`: on the Ray cluster whose dashboard is there; `slurm` or "
        "`slurm=PARTITION`; `actions`: jobs on the GitHub repository's own runners (default: "
        "LORA_CI_EXECUTOR, else inline)",
    )
    parser.add_argument(
        "--parallel",
        type=positive,
        default=os.environ.get("LORA_CI_PARALLEL") or None,
        metavar="N",
        help="steps at a time, where they do not run in this process (default: LORA_CI_PARALLEL, "
        "else with `local` what fits on the GPUs, on a cluster 16)",
    )
    parser.add_argument(
        "--quota",
        type=positive,
        default=os.environ.get("LORA_CI_QUOTA") or None,
        metavar="N",
        help="GPUs that the steps of one repository may have at a time (default: LORA_CI_QUOTA, "
        "else all)",
    )
    parser.add_argument(
        "--pass-env",
        action="append",
        default=os.environ.get("LORA_CI_PASS_ENV", "").split(),
        metavar="NAME",
        help="a variable of the environment that steps get too, such as WANDB_API_KEY; may be "
        "given again (default: those that LORA_CI_PASS_ENV names)",
    )
    add_place_arguments(parser)
    add_forge_arguments(parser)
    add_output_arguments(parser)


def executor_name(text: str) -> str:
    """Where steps run."""
    kind, sign, rest = text.partition("=")
    right = {
        "inline": not sign,
        "local": not sign,
        "ray": rest.startswith(("http://", "https://")),
        "slurm": not sign or bool(rest),
        ACTIONS: not sign,
    }
    if not right.get(kind, False):
        expected = "expected inline, local, ray=http://HOST:8265, slurm, slurm=PARTITION or actions"
        raise argparse.ArgumentTypeError(f"{text!r}: {expected}")
    return text


def moment(text: str) -> datetime:
    """A time with its zone."""
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(text)
    return at


def run(args: argparse.Namespace, output: Output, scope: Scope = EVERYTHING) -> int:
    """Runs; the exit code is that of the worst step."""
    forget_junit(args)
    hub = open_hub(args)
    try:
        asked = read_asked(args, hub.host)
    except Nothing as nothing:
        output.result(f"nothing to do: {nothing}", {"nothing": str(nothing)}, schema="nothing")
        return ExitCode.PASSED
    with hub.refusing(asked):
        view, deps = _run(args, asked, hub, output, scope)
    tell(args, view, deps, hub, output)
    return EXIT_CODES[view.outcome]


def _run(
    args: argparse.Namespace, asked: Run | None, hub: Hub, output: Output, scope: Scope
) -> tuple[RunView, Deps]:
    event, source = open_event(args, asked, hub.host)
    deps = open_wired(args, source, hub, output.watch)
    only = frozenset(args.only) or frozenset(asked.loras if asked else ())
    if only and scope.loras is None:
        scope = replace(scope, loras=only)
    if args.until and scope.last is None:
        scope = replace(scope, last=args.until)
        if deps.bundle:
            deps = replace(deps, bundle=replace(deps.bundle, whole=args.until))
    since = None
    if args.retrain or (asked and asked.retrain):
        since = asked_at(args, asked, deps)
        deps = replace(deps, anew=Anew(loras=scope.loras, since=since))
    if args.executor == ACTIONS:
        deps = with_jobs(deps, hub, asked_of(event, asked, since))
    return handle(event, deps, scope=scope, run_id=run_id_of(args)), deps


def asked_of(event: Event, asked: Run | None = None, since: datetime | None = None) -> Run:
    """What a job elsewhere is told of this run; `since` is when a retraining was asked for."""
    said = (
        asked.event
        if asked
        else Announced(
            kind=event.kind,
            repo=event.repo,
            base=event.base,
            ref=event.ref,
            actor=event.actor,
            number=event.number,
            tag=event.tag,
            message=event.message[:MOST_MESSAGE],
        )
    )
    return Run(
        event=replace(said, head=event.head, trust=event.trust),
        retrain=since is not None,
        approved_by=event.approvals,
        asked_at=since.isoformat() if since else None,
    )


def asked_at(args: argparse.Namespace, asked: Run | None, deps: Deps) -> datetime:
    """When a retraining was asked for."""
    told = moment(asked.asked_at) if asked and asked.asked_at else None
    return args.asked_at or told or deps.clock.now()


def tell(args: argparse.Namespace, view: RunView, deps: Deps, hub: Hub, output: Output) -> None:
    """Prints what came of a run, and tells its workflow."""
    output.result(render_run_text(view), view, schema="run")
    output.findings(view.plan.findings)
    for step in view.steps:
        show_findings(step, output)
    output.findings(view.notes)
    if view.outcome is Outcome.INTERRUPTED:
        output.note("interrupted; the same command goes on where it stopped")
    elif view.outcome is not Outcome.PASSED:
        output.note(f"next: lora-ci report {view.run_id}, for the page with everything")
    if hub.job.is_silent:  # else the forge had nowhere else to show it
        hub.job.write_summary(render_comment(view))
    write_junit(args, view)
    tell_run(hub.job, view, page_of(view, deps), adapters_of(args, view, deps))


def adapters_of(args: argparse.Namespace, view: RunView, deps: Deps) -> tuple[Path, ...]:
    """The files of the adapters, by the names of their LoRAs where there is a bundle."""
    if args.bundle:
        return adapters_in(args.bundle)
    found = []
    for step in view.steps:
        adapter = step.result.artifact(ADAPTER) if step.result else None
        is_shard = parse_shard(step.decision.lora) is not None
        if step.decision.stage is Stage.TRAIN and adapter and not is_shard:
            with suppress(LoraCIError):  # gone or damaged: the step that needs it has said so
                found.append(deps.store.get(adapter.sha256))
    return tuple(found)


def page_of(view: RunView, deps: Deps) -> Path:
    """Where the page of a run is on this machine."""
    return page_file(deps.state / FORGE / REPORTS, view.run_id)


def show_findings(step: StepView, output: Output) -> None:
    """Why a step did not pass, and what a training warns of, on one screen."""
    shown = Severity.ERROR
    if step.result is None:
        return
    if step.result.outcome is Outcome.PASSED:
        if step.decision.stage is not Stage.TRAIN or step.decision.action is not Action.RUN:
            return
        shown = Severity.WARNING
    elif step.decision.stage is Stage.VALIDATE and step.result.outcome is Outcome.INCONCLUSIVE:
        shown = Severity.WARNING  # a person must look at what is told there
    found = [f for f in step.result.findings if f.severity is shown]
    if found:
        output.note(f"\n{step.decision.stage} of {step.decision.lora}:")
    output.findings(found[:SHOWN])
    if len(found) > SHOWN:
        output.note(f"… and {len(found) - SHOWN} more in the report")
