"""`lora-ci status`: the recent runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from lora_ci.app.git_source import open_git_source
from lora_ci.app.wiring import open_deps
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.core.errors import ExitCode


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How many runs."""
    parser.add_argument("--repo", type=Path, default=Path(), help="repository (default: here)")
    parser.add_argument("--limit", type=int, default=10, help="newest runs to show (default: 10)")
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Prints one line a run."""
    runs = open_deps(open_git_source(args.repo)).ledger.recent_runs(args.limit)
    lines = [
        f"{row.id}  {row.outcome or 'unfinished':<12}  {row.event.kind:<12}  {row.event.head[:7]}"
        for row in runs
    ]
    output.result("\n".join(lines) or "no run yet", {"runs": runs}, schema="status")
    return ExitCode.PASSED
