"""`lora-ci plan`: what a commit changes, what would run, and why."""

from __future__ import annotations

import argparse

from lora_ci.app.git_source import open_git_source
from lora_ci.app.plan_event import plan_event
from lora_ci.app.records import read_records
from lora_ci.cli.events import add_event_arguments, make_event
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.core.errors import ExitCode
from lora_ci.core.finding import Severity
from lora_ci.report.text import render_plan_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which commit, compared with which."""
    add_event_arguments(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Prints the plan; runs nothing."""
    source = open_git_source(args.repo)
    plan, _ = plan_event(make_event(args, source.repo), source, read_records(source.root))
    output.result(render_plan_text(plan), plan, schema="plan")
    output.findings(plan.findings)
    failed = any(f.severity is Severity.ERROR for f in plan.findings)
    return ExitCode.FAILED if failed else ExitCode.PASSED
