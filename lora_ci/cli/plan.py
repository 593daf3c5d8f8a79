"""`lora-ci plan`: what a commit changes, what would run, and why."""

from __future__ import annotations

import argparse

from lora_ci.app.plan_event import plan_event
from lora_ci.app.records import read_records
from lora_ci.cli.events import add_event_arguments, open_event
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import ExitCode
from lora_ci.core.finding import Severity
from lora_ci.core.plan import Plan
from lora_ci.report.plan_comment import render_plan_markdown
from lora_ci.report.text import render_plan_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which commit, compared with which."""
    add_event_arguments(parser)
    parser.add_argument("--markdown", action="store_true", help="as a comment on a git host")
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Prints the plan; runs nothing."""
    event, source = open_event(args)
    plan, _ = plan_event(event, source, read_records(source.root), SystemClock())
    return show(plan, output, markdown=args.markdown)


def show(plan: Plan, output: Output, *, markdown: bool) -> int:
    """Prints a plan; the exit code says whether its inputs can be used."""
    text = render_plan_markdown(plan) if markdown else render_plan_text(plan)
    output.result(text, plan, schema="plan")
    output.findings(plan.findings)
    failed = any(f.severity is Severity.ERROR for f in plan.findings)
    return ExitCode.FAILED if failed else ExitCode.PASSED
