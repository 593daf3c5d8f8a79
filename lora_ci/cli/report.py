"""`lora-ci report`: renders the page of a recorded run again."""

from __future__ import annotations

import argparse
from pathlib import Path

from lora_ci.app.git_source import open_git_source
from lora_ci.app.publish import publish
from lora_ci.app.wiring import open_deps
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.core.errors import ExitCode, InfrastructureError, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run."""
    parser.add_argument("run_id", nargs="?", help="id of the run (default: the newest)")
    parser.add_argument("--repo", type=Path, default=Path(), help="repository (default: here)")
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Prints where the page is."""
    deps = open_deps(open_git_source(args.repo))
    newest = deps.ledger.recent_runs(1)
    run_id = args.run_id or (newest[0].id if newest else "")
    view = deps.ledger.load_view(run_id)
    if view is None:
        raise UsageError(f"no finished run `{run_id}`", hint="next: lora-ci status")
    published = publish(view, deps)
    output.findings(published.notes)
    address = published.address
    if address is None:
        raise InfrastructureError("the report could not be published", findings=published.notes)
    output.result(address, {"run": run_id, "report": address}, schema="report")
    return ExitCode.PASSED
