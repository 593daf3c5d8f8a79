"""`lora-ci run`: does what the plan says and publishes the result."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from lora_ci.app.handle import EVERYTHING, EXIT_CODES, Scope, handle
from lora_ci.app.wiring import open_deps
from lora_ci.cli.events import add_event_arguments, open_event
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.core.finding import Severity
from lora_ci.core.run import StepView
from lora_ci.core.step import Outcome, Stage
from lora_ci.report.text import render_run_text

SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which commit, and where the steps run."""
    add_event_arguments(parser)
    add_executor_argument(parser)
    add_output_arguments(parser)


def add_executor_argument(parser: argparse.ArgumentParser) -> None:
    """Where steps run."""
    parser.add_argument(
        "--executor",
        choices=("inline", "process"),
        default="inline",
        help="in this process, or each step in one of its own that outlives this one",
    )


def run(args: argparse.Namespace, output: Output, scope: Scope = EVERYTHING) -> int:
    """Runs; the exit code is that of the worst step."""

    def watch(lora: str, stage: Stage, done: int, total: int, note: str) -> None:
        output.progress(f"{stage} {lora}", done, total, note)

    event, source = open_event(args)
    key = os.environ.get("LORA_CI_SIGNING_KEY")
    deps = open_deps(
        source,
        watch=watch,
        executor=args.executor,
        signing_key=Path(key).resolve() if key else None,
    )
    view = handle(event, deps, scope=scope)
    output.result(render_run_text(view), view, schema="run")
    output.findings(view.plan.findings)
    for step in view.steps:
        show_findings(step, output)
    output.findings(view.notes)
    if view.outcome is Outcome.INTERRUPTED:
        output.note("interrupted; the same command goes on where it stopped")
    elif view.outcome is not Outcome.PASSED:
        output.note(f"next: lora-ci report {view.run_id}, for the page with everything")
    return EXIT_CODES[view.outcome]


def show_findings(step: StepView, output: Output) -> None:
    """Why a step did not pass, on one screen."""
    if step.result is None or step.result.outcome is Outcome.PASSED:
        return
    errors = [f for f in step.result.findings if f.severity is Severity.ERROR]
    if errors:
        output.note(f"\n{step.decision.stage} of {step.decision.lora}:")
    output.findings(errors[:SHOWN])
    if len(errors) > SHOWN:
        output.note(f"… and {len(errors) - SHOWN} more in the report")
