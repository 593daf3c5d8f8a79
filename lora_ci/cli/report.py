"""`lora-ci report`: shows a recorded run again, or a run whose jobs left bundles."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from lora_ci.app.bundle import read_bundles
from lora_ci.app.earlier import with_earlier
from lora_ci.app.git_source import open_git_source
from lora_ci.app.handle import EXIT_CODES, shared
from lora_ci.app.publish import publish
from lora_ci.app.report_files import PAGE, write_report
from lora_ci.app.sweep import EXHAUSTIVE, with_sweeps
from lora_ci.app.votes import with_votes
from lora_ci.app.wiring import Deps
from lora_ci.cli.events import read_run
from lora_ci.cli.hub import Hub, open_hub
from lora_ci.cli.junit import add_junit_argument, forget_junit, write_junit
from lora_ci.cli.output import Output
from lora_ci.cli.qa_state import open_kept
from lora_ci.cli.run import add_common_arguments, tell
from lora_ci.cli.wire import open_wired
from lora_ci.core.errors import ExitCode, InfrastructureError, UsageError
from lora_ci.core.event import Event
from lora_ci.forge.payload import Announced


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run."""
    parser.add_argument("run_id", nargs="?", help="id of the run (default: the newest)")
    parser.add_argument("--repo", type=Path, default=Path(), help="repository (default: here)")
    parser.add_argument(
        "--state",
        type=Path,
        metavar="FOLDER",
        help="write the report of a judged file again: --out of `qa ADAPTER`",
    )
    parser.add_argument(
        "--bundles",
        type=Path,
        metavar="FOLDER",
        help="the run whose jobs left the bundles below this folder (`plan` and `run --bundle`); "
        "the exit code is the run's",
    )
    parser.add_argument(
        "--asked",
        type=Path,
        metavar="FILE",
        help="what `plan` made of the event (its output `asked`): the bundles must be of it",
    )
    parser.add_argument(
        "--cancelled",
        action="store_true",
        help="jobs were cancelled: what has no result was stopped, not lost",
    )
    add_junit_argument(parser)
    add_common_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Shows the run where the forge shows things, and says where its page is."""
    forget_junit(args)
    if args.state:
        return report_of_state(args, output)
    hub = open_hub(args)
    deps = open_wired(args, open_git_source(args.repo), hub, lambda *_: None)
    if args.bundles:
        return run_of_bundles(args, deps, hub, output)
    newest = deps.ledger.recent_runs(1)
    run_id = args.run_id or (newest[0].id if newest else "")
    view = deps.ledger.load_view(run_id)
    if view is None:
        raise UsageError(f"no finished run `{run_id}`", hint="next: lora-ci status")
    published = publish(view, deps)
    write_junit(args, view)
    output.findings(published.notes)
    address = published.address
    if address is None:
        raise InfrastructureError("the report could not be published", findings=published.notes)
    told = {"run": run_id, "report": address, "notes": published.notes}
    output.result(address, told, schema="report")
    return ExitCode.PASSED


def report_of_state(args: argparse.Namespace, output: Output) -> int:
    """The report of a judgement without a repository, in its folder, with the votes of today."""
    kept = open_kept(args)
    try:
        newest = kept.ledger.recent_runs(1)
        run_id = args.run_id or (newest[0].id if newest else "")
        view = kept.ledger.load_view(run_id)
        if view is None:
            raise UsageError(f"{args.state}: no finished run `{run_id}`", hint="next: lora-ci qa")
        notes = write_report(with_votes(view, kept.ledger), kept.store, args.state)
    finally:
        kept.ledger.close()
    write_junit(args, view)
    output.findings(notes)
    page = str(args.state / PAGE)
    output.result(page, {"run": run_id, "report": page, "notes": notes}, schema="report")
    return ExitCode.PASSED


def run_of_bundles(args: argparse.Namespace, deps: Deps, hub: Hub, output: Output) -> int:
    """The end of a run that several jobs did; the exit code is that of the worst step."""
    gathered = read_bundles(args.bundles, deps.store, deps.clock, cancelled=args.cancelled)
    view, notes = gathered.view, list(gathered.view.notes)
    if args.asked:
        check_asked(read_run(args.asked).event, view.event)
    view = with_earlier(with_sweeps(view, deps.source, EXHAUSTIVE), deps.source, deps.records)
    deps.ledger.start_run(view.run_id, view.event)
    deps.ledger.save_view(view)
    for name, records in gathered.records.items():
        notes += shared(records, deps, kept_in=name)
    view = replace(view, notes=(*notes, *publish(view, deps).notes))
    tell(args, view, deps, hub, output)
    return EXIT_CODES[view.outcome]


def check_asked(asked: Announced, event: Event) -> None:
    """Raises UsageError for bundles of another event: every job of a run can leave some."""
    told = asked.kind, asked.head or event.head, asked.number, asked.tag
    if told != (event.kind, event.head, event.number, event.tag):
        message = f"the bundles are of {event.kind} {event.head[:12]}, which nobody asked for"
        raise UsageError(message, hint="next: run the whole workflow again")
