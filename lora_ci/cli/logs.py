"""`lora-ci logs`: what steps printed, as it was kept or while they go on."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lora_ci.cli.events import stage
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.cli.recorded import Recorded, add_recorded_arguments, is_left, no_run, open_recorded
from lora_ci.cli.tail import Tail
from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import ExitCode, UsageError
from lora_ci.core.step import Stage
from lora_ci.execution.executor import INLINE
from lora_ci.steps.folder import StepFolder

if TYPE_CHECKING:
    from lora_ci.ledger.attempts import AttemptStory, RunState, StepBrief, StepStory

POLL_S = 0.2
RUNNING, ENDED = "running", "ended"
INLINE_WORDS = "steps run inside of the lora-ci that began this run, and no log of them is kept"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which steps of which run."""
    parser.add_argument("run_id", nargs="?", metavar="RUN", help="id of the run (the newest)")
    parser.add_argument("--lora", metavar="NAME", help="only the steps of this LoRA")
    parser.add_argument(
        "--stage",
        type=stage,
        metavar="STAGE",
        help="only this stage: " + ", ".join(Stage),
    )
    parser.add_argument(
        "--attempt",
        type=int,
        metavar="N",
        help="only what the N-th attempt of the step printed (default: all attempts)",
    )
    parser.add_argument(
        "--follow", "-f", action="store_true", help="show what comes until the steps have ended"
    )
    add_recorded_arguments(parser)
    add_output_arguments(parser, json="print a JSON object for each line")


def run(args: argparse.Namespace, output: Output) -> int:
    """Prints the logs, each line with its step before it where there are several."""
    recorded = open_recorded(args)
    if recorded is None:
        raise no_run()
    try:
        found = recorded.run(args.run_id)
        if args.follow:
            _follow(args, recorded, found, output)
        else:
            _show(args, recorded, found, output)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    finally:
        recorded.ledger.close()
    return ExitCode.PASSED


def _show(args: argparse.Namespace, recorded: Recorded, run: RunState, output: Output) -> None:
    """What there is now."""
    steps = _wanted(args, recorded, run)
    if not steps:
        raise _no_such_step(args, run)
    kept = [found for step in steps for found in _kept(args, step, recorded)]
    if not kept:
        raise _no_log(run, steps)
    alone = len({step.id for step, *_ in kept}) == 1
    for step, attempt, file, skip in kept:
        for line in _all_of(Tail(file, skip)):
            _tell(step, attempt, line, output, alone=alone)


def _all_of(tail: Tail) -> Iterator[str]:
    yield from tail.lines()
    yield from tail.close()


def _follow(args: argparse.Namespace, recorded: Recorded, run: RunState, output: Output) -> None:
    """What steps print that go on or are to come, until there are none of either."""
    steps = _wanted(args, recorded, run)
    if (steps or run.outcome) and _is_over(args, run, steps):
        _show(args, recorded, run, output)
        return
    clock = SystemClock()
    follower = _Follower(args, recorded, output, {step.id for step in steps if step.outcome})
    while True:
        # First what the ledger says: a log is whole once the step has ended.
        run = recorded.run(run.id)
        briefs = recorded.attempts.briefs(run.id, lora=args.lora, stage=args.stage)
        begun = [b.id for b in briefs if b.attempts and b.id not in follower.done]
        for step in recorded.attempts.steps(run.id, ids=begun):
            follower.look_at(step)
        if _is_over(args, run, briefs):
            return
        if is_left(run) and not any(brief.state == RUNNING for brief in briefs):
            message = f"nobody moves run {run.id} on any more"
            output.note(f"{message}; next: the command that started it, again")
            return
        clock.sleep(POLL_S)


@dataclass(slots=True)
class _Follower:
    """Prints what is new of steps; `done` are those of which all was told."""

    args: argparse.Namespace
    recorded: Recorded
    output: Output
    done: set[int]
    tails: dict[Path, Tail] = field(default_factory=dict)
    told_inline: bool = False

    def look_at(self, step: StepStory) -> None:
        attempt = _attempt(self.args, step)
        if attempt is None:
            return
        if step.outcome:
            self.done.add(step.id)
        if attempt.executor == INLINE:
            if not self.told_inline:
                self.output.note(INLINE_WORDS)
            self.told_inline = True
            return
        folder, alone = StepFolder(step.folder), _is_one(self.args)
        if folder.log not in self.tails:
            self.tails[folder.log] = Tail(folder.log, _begin(step, attempt, self.recorded))
        for log in (folder.log, *_further(folder)):
            tail = self.tails.setdefault(log, Tail(log))
            for line in tail.lines() if step.outcome is None else _all_of(tail):
                _tell(step, attempt, line, self.output, alone=alone)
            if alone and step.outcome is None and tail.unfinished:
                self.output.standing(tail.unfinished)


def _is_one(args: argparse.Namespace) -> bool:
    """True where the options name one step."""
    return bool(args.lora and args.stage)


def _is_over(
    args: argparse.Namespace, run: RunState, steps: Sequence[StepStory | StepBrief]
) -> bool:
    """True where nothing more will be printed."""
    if any(step.state != ENDED for step in steps):
        return False
    return run.outcome is not None or (bool(steps) and _is_one(args))


def _wanted(args: argparse.Namespace, recorded: Recorded, run: RunState) -> Sequence[StepStory]:
    steps = recorded.attempts.steps(run.id, lora=args.lora, stage=args.stage)
    if args.attempt is not None and len(steps) > 1:
        message = f"run {run.id} has {len(steps)} steps that fit; --attempt is of one"
        raise UsageError(message, hint=f"next: --lora {steps[0].lora} --stage {steps[0].stage}")
    return steps


def _attempt(args: argparse.Namespace, step: StepStory) -> AttemptStory | None:
    """The attempt that is wanted, or the last; None where there is none yet."""
    if args.attempt is None:
        return step.attempts[-1] if step.attempts else None
    found = next((a for a in step.attempts if a.number == args.attempt), None)
    if found is None and step.outcome:
        message = f"{step.stage} of {step.lora} has {len(step.attempts)} attempts"
        raise UsageError(message, hint="next: lora-ci status RUN, for all of them")
    return found


def _kept(
    args: argparse.Namespace, step: StepStory, recorded: Recorded
) -> Iterator[tuple[StepStory, AttemptStory, Path, int]]:
    """The files with the log of a step, and how many bytes of each were there before."""
    attempt = _attempt(args, step)
    if attempt is None or attempt.executor == INLINE:
        return
    skip = _begin(step, attempt, recorded) if args.attempt is not None else 0
    folder = StepFolder(step.folder)
    if attempt.log_sha256 and recorded.store.has(attempt.log_sha256):
        yield step, attempt, recorded.store.get(attempt.log_sha256), skip
    elif folder.log.exists():
        yield step, attempt, folder.log, skip
    if attempt == step.attempts[-1]:
        for log in _further(folder):
            yield step, attempt, log, 0


def _further(folder: StepFolder) -> list[Path]:
    """What the programs that a step called printed: another trainer, say."""
    return sorted(folder.workdir.glob("*.log"))


def _begin(step: StepStory, attempt: AttemptStory, recorded: Recorded) -> int:
    """Where in the log an attempt begins, bytes: each goes on behind the one before."""
    before = [a.log_sha256 for a in step.attempts if a.number < attempt.number and a.log_sha256]
    if not before or not recorded.store.has(before[-1]):
        return 0
    return recorded.store.get(before[-1]).stat().st_size


def _tell(
    step: StepStory, attempt: AttemptStory, line: str, output: Output, *, alone: bool
) -> None:
    if output.json:
        about = {"lora": step.lora, "stage": step.stage, "attempt": attempt.number}
        output.event({**about, "line": line})
    else:
        output.line(line if alone else f"{step.lora} {step.stage} | {line}")


def _no_such_step(args: argparse.Namespace, run: RunState) -> UsageError:
    wanted = " of ".join(filter(None, (args.stage, args.lora))) or "step"
    hint = f"next: lora-ci status {run.id}"
    return UsageError(f"run {run.id} has no {wanted} that was begun", hint=hint)


def _no_log(run: RunState, steps: Sequence[StepStory]) -> UsageError:
    """Why there is nothing to show."""
    names = ", ".join(f"{step.stage} of {step.lora}" for step in steps[:4])
    if any(a.executor == INLINE for step in steps for a in step.attempts):
        hint = "next: lora-ci run --executor local keeps one"
        return UsageError(f"run {run.id}: {INLINE_WORDS} ({names})", hint=hint)
    if all(step.outcome is None for step in steps):
        hint = f"next: lora-ci logs {run.id} --follow"
        return UsageError(f"run {run.id}: nothing has been printed yet ({names})", hint=hint)
    hint = f"next: lora-ci status {run.id}"
    return UsageError(f"run {run.id}: no log is kept of {names}", hint=hint)
