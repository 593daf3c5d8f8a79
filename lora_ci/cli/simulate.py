"""`lora-ci simulate`: what a push from one commit to another would do, to its end."""

from __future__ import annotations

import argparse
from pathlib import Path

from lora_ci.app.git_source import open_git_source
from lora_ci.app.simulation import simulate
from lora_ci.cli import plan as plan_command
from lora_ci.cli.hub import Hub
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.cli.wire import add_place_arguments, open_past
from lora_ci.core.clock import SystemClock

EPILOG = "Nothing is run, recorded or written."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The two commits."""
    parser.epilog = EPILOG
    parser.add_argument("--repo", type=Path, default=Path(), help="repository (default: here)")
    parser.add_argument(
        "--from",
        dest="start",
        metavar="A",
        required=True,
        help="commit that is taken as done: all its steps count as passed",
    )
    parser.add_argument("--to", metavar="B", default="HEAD", help="commit pushed (default: HEAD)")
    parser.add_argument("--default-branch", metavar="NAME", help="(default: origin's)")
    parser.add_argument("--markdown", action="store_true", help="as a comment on a git host")
    add_place_arguments(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Prints the plan of B with every step that would run, also those that wait for others."""
    source = open_git_source(args.repo, args.default_branch)
    start, to = source.repo.commit(args.start), source.repo.commit(args.to)
    records = open_past(args, source, Hub()).records
    plan = simulate(start, to, source, records, SystemClock())
    return plan_command.show(plan, output, markdown=args.markdown)
