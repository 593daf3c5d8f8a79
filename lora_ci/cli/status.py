"""`lora-ci status`: the recent runs; of one its steps, where they are, and what they wait for."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from lora_ci.cli.events import positive
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.cli.recorded import (
    Recorded,
    add_recorded_arguments,
    is_left,
    no_run,
    open_recorded,
)
from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import ExitCode
from lora_ci.core.step import Outcome, Progress
from lora_ci.core.text import clean
from lora_ci.execution.executor import INLINE, LOCAL
from lora_ci.report.figures import duration
from lora_ci.report.progress import percent, progress_text
from lora_ci.report.text import SIGNS, aligned
from lora_ci.steps.folder import StepFolder

if TYPE_CHECKING:
    from lora_ci.core.plan import Decision
    from lora_ci.ledger.attempts import AttemptStory, RunState, StepStory
    from lora_ci.ledger.ledger import RunRow

WAITING = "waiting"
# A stage that is not in the queue yet: what it is made of is not known before others have ended.
PLANNED = "planned"
HEAD = ("lora", "stage", "state", "attempt", "where", "time", "GPU-s", "about")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which runs."""
    parser.add_argument("run_id", nargs="?", metavar="RUN", help="show the steps of this run")
    parser.add_argument(
        "--limit", type=positive, default=10, metavar="N", help="newest runs to show (default: 10)"
    )
    add_recorded_arguments(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Prints one line a run, or one a step."""
    recorded = open_recorded(args)
    if recorded is None:
        if args.run_id:
            raise no_run()
        _show_runs((), output)
        return ExitCode.PASSED
    try:
        if args.run_id:
            _show_run(recorded, args.run_id, output)
        else:
            _show_runs(recorded.ledger.recent_runs(args.limit), output)
    finally:
        recorded.ledger.close()
    return ExitCode.PASSED


def _state(row: RunRow) -> str:
    """What it came to; `left` where its process is gone, as far as this machine can tell."""
    from lora_ci.execution.lead import is_gone

    if row.outcome:
        return row.outcome
    return "left" if row.owner and is_gone(row.owner) else "unfinished"


def _show_runs(runs: Sequence[RunRow], output: Output) -> None:
    lines = [
        f"{row.id}  {_state(row):<12}  {row.event.kind:<12}  {row.event.head[:7]}" for row in runs
    ]
    output.result("\n".join(lines) or "no run yet", {"runs": runs}, schema="status")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStatus:
    """A step as `--json` tells it; `waits_for` is None where it does not wait.

    One that is planned has no folder yet.
    """

    lora: str
    stage: str
    state: str
    outcome: Outcome | None
    waits_for: str | None
    progress: Progress | None
    gpu_s: float
    folder: str | None
    attempts: tuple[AttemptStory, ...]


def _show_run(recorded: Recorded, run_id: str, output: Output) -> None:
    found = recorded.run(run_id)
    now = SystemClock().now()
    stories = recorded.attempts.steps(found.id)
    steps = [status_of(story, found, now) for story in stories]
    lines = [_headline(found, now), ""]
    rows = [_row(step, story, now) for step, story in zip(steps, stories, strict=True)]
    if not is_left(found):
        ahead = still_ahead(recorded.attempts.planned(found.id), stories)
        rows += [_planned_row(decision) for decision in ahead]
        steps += [_planned(decision) for decision in ahead]
    lines += aligned(HEAD, rows) if rows else ["no step was begun: what is known was reused"]
    told = {"run": found, "abandoned": is_left(found), "steps": steps}
    output.result("\n".join(lines), told, schema="run-status")


def status_of(step: StepStory, run: RunState, now: datetime) -> StepStatus:
    """How a step stands at a moment."""
    going_on = step.state == "running"
    return StepStatus(
        lora=step.lora,
        stage=step.stage,
        state=step.state,
        outcome=step.outcome,
        waits_for=waits_for(step, run, now),
        progress=StepFolder(step.folder).read_progress() if going_on else None,
        gpu_s=step.gpu_s,
        folder=str(step.folder),
        attempts=step.attempts,
    )


def still_ahead(planned: Sequence[Decision], begun: Sequence[StepStory]) -> list[Decision]:
    """The stages that come after those that were begun; none behind one that did not pass."""
    known = {(story.lora, story.stage) for story in begun}
    ended = {story.lora for story in begun if story.outcome not in (None, Outcome.PASSED)}
    return [d for d in planned if (d.lora, d.stage) not in known and d.lora not in ended]


def _planned(decision: Decision) -> StepStatus:
    return StepStatus(
        lora=decision.lora,
        stage=decision.stage,
        state=PLANNED,
        outcome=None,
        waits_for=decision.why.removeprefix("waits for "),
        progress=None,
        gpu_s=0.0,
        folder=None,
        attempts=(),
    )


def _planned_row(decision: Decision) -> tuple[str, ...]:
    state = f"{SIGNS[None]} {PLANNED}"
    return decision.lora, decision.stage, state, "", "", "", "", clean(decision.why)


def waits_for(step: StepStory, run: RunState, now: datetime) -> str | None:
    """What a step waits for, None for one that does not wait."""
    if step.state != WAITING:
        return None
    if is_left(run) or run.outcome is not None:
        return "nobody: the process that moved this run on is gone; start the same command again"
    wait_s = (datetime.fromisoformat(step.due_at) - now).total_seconds()
    if wait_s > 0:
        last = step.attempts[-1].outcome if step.attempts else None
        return f"its next attempt in {duration(wait_s)}" + (f", after an {last}" if last else "")
    if step.twin:
        return f"the same work, under way in run {step.twin}"
    return "room: other steps are at work"


def _row(step: StepStatus, story: StepStory, now: datetime) -> tuple[str, ...]:
    last = story.attempts[-1] if story.attempts else None
    state = f"{SIGNS[step.outcome]} {step.outcome or step.state}"
    return (
        *(step.lora, str(step.stage), state, str(last.number) if last else ""),
        _place(last) if last else "",
        _time(last, now) if last else "",
        f"{step.gpu_s:.0f}" if step.gpu_s else "",
        clean("; ".join(_about(step, story))),
    )


def _about(step: StepStatus, story: StepStory) -> Iterator[str]:
    if step.waits_for:
        yield f"waits for {step.waits_for}"
    elif step.progress:
        yield " – ".join(filter(None, (percent(step.progress), progress_text(step.progress))))
    if story.stopping and step.outcome is None:
        yield f"is to end: {story.stopping}"
    if story.why:
        yield story.why


def _place(attempt: AttemptStory) -> str:
    """`local, process 4711`, `slurm on node-3, GPU 0, 1, lora-ci-step-7-1`."""
    node, gpus = attempt.place.get("node"), attempt.place.get("gpus") or ()
    parts = [attempt.executor + (f" on {node}" if node else "")]
    parts += [f"GPU {', '.join(map(str, gpus))}"] if gpus else []
    if attempt.handle and attempt.executor == LOCAL:
        parts.append(f"process {attempt.handle.partition(':')[0]}")
    elif attempt.handle and attempt.executor != INLINE:
        parts.append(attempt.handle)
    return ", ".join(parts)


def _time(attempt: AttemptStory, now: datetime) -> str:
    """How long the attempt took, or since when it goes on."""
    began = datetime.fromisoformat(attempt.started_at)
    if attempt.ended_at:
        ended = datetime.fromisoformat(attempt.ended_at)
        return duration(max(0.0, (ended - began).total_seconds()))
    return f"for {duration(max(0.0, (now - began).total_seconds()))}"


def _headline(run: RunState, now: datetime) -> str:
    event = run.event
    what = f"run {run.id}: {event.kind} {event.head[:7]}"
    if run.outcome:
        return f"{SIGNS[run.outcome]} {what}, {run.outcome}"
    age = duration((now - datetime.fromisoformat(run.started_at)).total_seconds())
    if is_left(run):
        return f"! {what}, begun {age} ago; nobody moves it on: start the same command again"
    by = f", moved on by {run.owner.rpartition(':')[0]}" if run.owner else ""
    return f"… {what}, begun {age} ago{by}"
