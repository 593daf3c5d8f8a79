"""`lora-ci explain`: what fingerprints are made of, and which part differs from the past."""

from __future__ import annotations

import argparse

from lora_ci.app.plan_event import plan_event
from lora_ci.cli.events import add_event_arguments, open_event, read_asked
from lora_ci.cli.hub import Hub
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.cli.wire import add_place_arguments, open_past
from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import ExitCode, UsageError
from lora_ci.core.shard import owner_of
from lora_ci.core.step import Stage
from lora_ci.plan.explain import explain_decision
from lora_ci.report.text import render_explanations


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which LoRA, at which commit."""
    parser.add_argument("lora", help="name of the LoRA in .lora-ci.yml")
    parser.add_argument(
        "--stage", choices=[str(stage) for stage in Stage], help="this stage only (default: all)"
    )
    add_event_arguments(parser)
    add_place_arguments(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Prints part by part what is now and what was then; runs nothing."""
    event, source = open_event(args, read_asked(args, None))
    records = open_past(args, source, Hub()).records
    plan, gathered = plan_event(event, source, records, SystemClock())
    if owner_of(args.lora) not in gathered.config.loras:
        known = ", ".join(gathered.config.loras)
        message = f"no LoRA `{args.lora}` is in the config of this commit"
        raise UsageError(message, hint=f"next: name one of: {known}")
    told = [
        explain_decision(decision, records)
        for decision in plan.of(args.lora)
        if args.stage in (None, str(decision.stage))
    ]
    value = {"lora": args.lora, "head": plan.head, "stages": told}
    output.result(render_explanations(told), value, schema="explain")
    findings = gathered.facts[owner_of(args.lora)].findings
    output.findings(findings)
    return ExitCode.FAILED if findings else ExitCode.PASSED
