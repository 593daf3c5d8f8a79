"""`lora-ci batch`: many LoRAs from folders in one go, without a repository."""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lora_ci.app.records import FORGE, STATE, ledger_url
from lora_ci.cli.events import positive
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.cli.pace import Pace, left_text
from lora_ci.cli.run import executor_name
from lora_ci.core.clock import new_run_id
from lora_ci.core.errors import LoraCIError, machine_error
from lora_ci.core.step import Outcome
from lora_ci.core.text import clean
from lora_ci.forge.local import REPORTS, page_file
from lora_ci.report.figures import counted, duration, number
from lora_ci.report.text import SIGNS, aligned

if TYPE_CHECKING:
    from lora_ci.app.batch import BatchResult, Board, Ended, Happened, Watcher

POLL_S = 0.5
# Of the progress of one stage, where it is told in lines.
PROGRESS_S = 2.0
BAR = 24
HEAD = ("job", "verdict", "score", "weight", "time", "GPU-s", "why")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The jobs, and how many of them at a time."""
    parser.add_argument("jobs", type=Path, metavar="JOBS.yml", help="list of jobs (docs/batch.md)")
    parser.add_argument(
        "--executor",
        type=executor_name,
        default=os.environ.get("LORA_CI_EXECUTOR"),
        metavar="WHERE",
        help="where steps run, as in `lora-ci run` (default: LORA_CI_EXECUTOR; else inline, or "
        "local with --parallel)",
    )
    parser.add_argument(
        "--parallel",
        type=positive,
        default=os.environ.get("LORA_CI_PARALLEL") or 1,
        metavar="N",
        help="steps at a time (default: LORA_CI_PARALLEL, else 1)",
    )
    parser.add_argument(
        "--pass-env",
        action="append",
        default=os.environ.get("LORA_CI_PASS_ENV", "").split(),
        metavar="NAME",
        help="a variable of the environment that steps get too; may be given again",
    )
    parser.add_argument(
        "--state",
        type=Path,
        metavar="FOLDER",
        help="where results are kept (default: .lora-ci/ beside the file)",
    )
    add_output_arguments(parser, json="print a JSON object a line, one an event")


def run(args: argparse.Namespace, output: Output) -> int:
    """Does all jobs; the exit code is that of the worst. With `--json`, a line an event."""
    if not output.json:
        return _run(args, output)
    try:
        return _run(args, output)
    except (LoraCIError, OSError) as error:
        expected = error if isinstance(error, LoraCIError) else machine_error(error)
        if expected is None:
            raise
        output.findings(expected.findings)
        output.event({"event": "error", "error": expected.rule, "findings": expected.findings})
        return expected.exit_code


def _run(args: argparse.Namespace, output: Output) -> int:
    from lora_ci.app.batch import (
        ADAPTERS,
        Board,
        Planned,
        Watcher,
        batch_result,
        put_adapters,
        read_batch,
        to_run,
    )
    from lora_ci.app.handle import EXIT_CODES, handle
    from lora_ci.app.plan_event import plan_event
    from lora_ci.app.wiring import Places, open_deps
    from lora_ci.ledger.attempts import Attempts
    from lora_ci.ledger.database import open_database

    state = args.state or args.jobs.resolve().parent / STATE
    source = read_batch(args.jobs, state)
    executor = args.executor or ("local" if args.parallel > 1 else "inline")
    deps = open_deps(
        source,
        places=Places(state=state),
        executor=executor,
        named=tuple(args.pass_env),
        room=args.parallel,
    )
    database = open_database(ledger_url(state), deps.clock)
    attempts, run_id = Attempts(database), new_run_id(deps.clock)
    try:
        source.remember(state)
        plan, _ = plan_event(source.event(), source, deps.records, deps.clock)
        planned = Planned(run=run_id, jobs=tuple(source.config.loras), stages=to_run(plan))
        with _shown(Board(planned, args.parallel), Watcher(attempts, run_id), output):
            view = handle(source.event(), deps, run_id=run_id)
        result = batch_result(
            view,
            attempts.steps(run_id),
            put_adapters(view, deps.store, state / ADAPTERS),
            page_file(state / FORGE / REPORTS, run_id),
        )
    finally:
        database.close()
        deps.ledger.close()
    output.findings(view.plan.findings)
    output.findings(view.notes)
    _tell(result, output)
    return EXIT_CODES[view.outcome]


@contextmanager
def _shown(board: Board, watcher: Watcher, output: Output) -> Iterator[None]:
    """Tells what happens to the steps of the run while the block goes on."""
    planned = board.planned
    jobs, stages = counted(len(planned.jobs), "job"), counted(len(planned.stages), "stage")
    output.note(f"{jobs}, {stages} to run; run {planned.run}")
    if output.json:
        output.event(planned)
        with _watched(watcher, _Lines(board, output).tell_json):
            yield
    elif sys.stderr.isatty() and not output.quiet:
        with _Table(board).live() as show, _watched(watcher, show):
            yield
    else:
        with _watched(watcher, _Lines(board, output).tell):
            yield


Show = Callable[["list[Happened]"], None]


@contextmanager
def _watched(watcher: Watcher, show: Show) -> Iterator[None]:
    """Looks twice a second from a thread: with steps in this process, nobody else could."""
    stopped = threading.Event()

    def keep_looking() -> None:
        while not stopped.wait(POLL_S):
            show(watcher.look())

    thread = threading.Thread(target=keep_looking, name="batch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        show(watcher.look())


class _Lines:
    """A line for each change."""

    def __init__(self, board: Board, output: Output) -> None:
        self.board = board
        self.output = output
        self._told_at: dict[tuple[str, str], float] = {}

    def tell(self, happened: list[Happened]) -> None:
        for one in happened:
            self.board.apply(one)
            if one.event != "progress":
                self.output.note(_words(one, self.board))

    def tell_json(self, happened: list[Happened]) -> None:
        for one in happened:
            if one.event != "progress" or self._is_due(one.job, one.stage):
                self.output.event(one)

    def _is_due(self, job: str, stage: str) -> bool:
        now = time.monotonic()
        if now - self._told_at.get((job, stage), -PROGRESS_S) < PROGRESS_S:
            return False
        self._told_at[job, stage] = now
        return True


def _words(one: Happened, board: Board) -> str:
    """`train mei: ✓ passed in 12.0 s; 3 to come`."""
    if one.event == "ended":
        left = len(board.to_come()) + len(board.running)
        return f"{_ended(one)}; {counted(left, 'stage')} to go"
    again = f" again (attempt {one.attempt})" if one.event == "started" and one.attempt > 1 else ""
    return f"{one.stage} {one.job}: begins{again}"


def _ended(one: Ended) -> str:
    why = f": {one.why}" if one.why else ""
    took = duration(one.seconds)
    return clean(f"{one.stage} {one.job}: {SIGNS[one.outcome]} {one.outcome} in {took}{why}")


class _Table:
    """A table that stays in place below the lines of what has ended."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._paces: dict[tuple[str, str], Pace] = {}

    @contextmanager
    def live(self) -> Iterator[Show]:
        """Draws until the block ends."""
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True, highlight=False)
        with Live(console=console, auto_refresh=False, transient=True) as live:

            def show(happened: list[Happened]) -> None:
                for one in happened:
                    self.board.apply(one)
                    if one.event == "ended":
                        console.print(_ended(one), markup=False, soft_wrap=True)
                live.update(self.drawn(), refresh=True)

            yield show

    def drawn(self) -> Any:
        """What goes on, a row each, and what is to come."""
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        now = time.monotonic()
        for (job, stage), one in self.board.running.items():
            known = one.event == "progress" and one.total > 0
            done, total = (one.done, one.total) if one.event == "progress" and known else (0, 1)
            note = one.note if one.event == "progress" else ""
            pace = self._paces.setdefault((job, stage), Pace.start(done, total, now))
            left = pace.left_s(done, total, now)
            table.add_row(
                Text(f"{stage} {job}"),
                ProgressBar(total=total, completed=done, width=BAR, pulse=not known),
                Text(f"{done}/{total}" if known else ""),
                Text(left_text(left) if left is not None else ""),
                Text(clean(note), no_wrap=True, overflow="ellipsis"),
            )
        return Group(table, Text(self._footer(), style="dim"))

    def _footer(self) -> str:
        ended = self.board.ended.values()
        bad = sum(one.outcome is not Outcome.PASSED for one in ended)
        facts = [f"{counted(len(ended), 'stage')} done", f"{len(self.board.to_come())} to come"]
        facts += [f"{bad} did not pass"] if bad else []
        left = self.board.left_s()
        facts += [f"about {left_text(left)}"] if left is not None else []
        return " · ".join(facts)


def _tell(result: BatchResult, output: Output) -> None:
    """The summary: the last event, or a table."""
    if output.json:
        output.event(result)
    else:
        output.result(_text(result), result, schema=None)
    if result.outcome is Outcome.INTERRUPTED:
        output.note("interrupted; the same command goes on where it stopped")


def _text(result: BatchResult) -> str:
    rows = [
        (
            job.job,
            f"{SIGNS[job.outcome]} {job.outcome or 'waits'}" + " (reused)" * job.reused,
            number(job.score),
            "–" if job.weight is None else f"{job.weight:g}",
            duration(job.seconds),
            f"{job.gpu_seconds:.0f}",
            clean(job.reason),
        )
        for job in result.jobs
    ]
    lines = [*aligned(HEAD, rows), ""]
    lines += [f"{job.job}: {job.adapter}" for job in result.jobs if job.adapter]
    lines += [f"report: {result.report}"] if result.report else []
    took = f"{SIGNS[result.outcome]} {result.outcome} in {duration(result.seconds)}"
    return "\n".join([*lines, f"{took} (run {result.run})"])
