"""`lora-ci runners`: the machines that run steps, what is on them, and which take no more."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.cli.recorded import add_recorded_arguments, open_recorded
from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import ExitCode, UsageError
from lora_ci.core.machine import Gpu, Machine
from lora_ci.report.figures import counted, duration
from lora_ci.report.text import aligned

if TYPE_CHECKING:
    from lora_ci.ledger.ledger import Ledger
    from lora_ci.ledger.queue import OpenAttempt, Waiting
    from lora_ci.ledger.runners import Runner

HEAD = ("runner", "state", "seen", "GPU", "GiB", "free", "steps")
DONE = {
    "cordon": "{name} takes no new steps; those that run there go on",
    "drain": "{name} takes no new steps; those that run there save what they have and go",
    "resume": "{name} takes steps again",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, and with which machine."""
    does = parser.add_subparsers(dest="does", metavar="<what>", required=True)
    for name, about in (
        ("list", "show the machines, their GPUs, and the steps on them"),
        ("cordon", "give a machine no new steps"),
        ("drain", "give a machine no new steps, and let those on it go on elsewhere"),
        ("resume", "give a machine steps again"),
    ):
        command = does.add_parser(name, help=about, description=about)
        if name != "list":
            command.add_argument("name", metavar="NAME", help="the machine, as `list` has it")
        if name in ("cordon", "drain"):
            command.add_argument("--why", required=True, help="what `list` shows to others")
        add_recorded_arguments(command)
        add_output_arguments(command)


def run(args: argparse.Namespace, output: Output) -> int:
    """Lists the machines, or says what is wanted of one."""
    recorded = open_recorded(args)
    try:
        if args.does == "list":
            _list(recorded.ledger if recorded else None, output)
        else:
            _want(recorded.ledger if recorded else None, args, output)
    finally:
        if recorded:
            recorded.ledger.close()
    return ExitCode.PASSED


def _want(ledger: Ledger | None, args: argparse.Namespace, output: Output) -> None:
    from lora_ci.ledger.runners import RunnerState

    states = {
        "cordon": RunnerState.CORDONED,
        "drain": RunnerState.DRAINED,
        "resume": RunnerState.ACTIVE,
    }
    state, why = states[args.does], getattr(args, "why", "")
    if ledger is None or not ledger.runners.want(args.name, state, why):
        raise UsageError(
            f"no runner `{args.name}` was ever seen", hint="next: lora-ci runners list"
        )
    told = {"name": args.name, "state": state, "why": why}
    output.result(DONE[args.does].format(name=args.name), told, schema="runner")


@dataclass(frozen=True, slots=True, kw_only=True)
class OnRunner:
    """A step that runs; `vram_gib` is what it asked for, 0 where it has its GPUs alone."""

    key: str
    run_id: str
    lora: str
    stage: str
    gpus: tuple[str, ...]
    vram_gib: float
    started_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerStatus:
    """A machine as `--json` tells it."""

    name: str
    state: str
    why: str
    seen_at: str
    slots: int
    cpu_only: bool
    note: str
    gpus: tuple[Gpu, ...]
    steps: tuple[OnRunner, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """A step that no machine could do."""

    run_id: str
    lora: str
    stage: str
    why: str


def _list(ledger: Ledger | None, output: Output) -> None:
    runners = ledger.runners.all() if ledger else ()
    attempts = ledger.queue.open_attempts() if ledger else ()
    waiting = ledger.queue.waiting() if ledger else ()
    now = SystemClock().now()
    found = [_status(runner, attempts) for runner in runners]
    misfits = _misfits([runner.machine for runner in runners], waiting)
    rows = [row for status in found for row in _rows(status, now)]
    lines = aligned(HEAD, rows) if rows else ["no runner was seen yet"]
    lines += [f"{f.name} is {f.state}: {f.why}" for f in found if f.why]
    lines += [f"{f.name}: {f.note}" for f in found if f.note]
    lines += [f"fits nowhere: {m.stage} of {m.lora} {m.why}" for m in misfits]
    output.result("\n".join(lines), {"runners": found, "misfits": misfits}, schema="runners")


def _misfits(machines: Sequence[Machine], waiting: Sequence[Waiting]) -> list[Misfit]:
    from lora_ci.execution.placement import GpuPlacement

    placement = GpuPlacement(machines=tuple(machines))
    return [
        Misfit(run_id=one.step.run_id, lora=one.step.lora, stage=one.step.stage, why=why)
        for one in waiting
        if (why := placement.misfit(one))
    ]


def _status(runner: Runner, attempts: Sequence[OpenAttempt]) -> RunnerStatus:
    machine = runner.machine
    here = [a for a in attempts if a.place.get("node") == machine.name]
    return RunnerStatus(
        name=machine.name,
        state=runner.state,
        why=runner.why,
        seen_at=runner.seen_at,
        slots=machine.slots,
        cpu_only=machine.cpu_only,
        note=machine.note,
        gpus=machine.gpus,
        steps=tuple(
            OnRunner(
                key=a.key,
                run_id=a.step.run_id,
                lora=a.step.lora,
                stage=a.step.stage,
                gpus=tuple(a.place.get("gpus", ())),
                vram_gib=a.vram_gib,
                started_at=a.started_at,
            )
            for a in here
        ),
    )


def _rows(status: RunnerStatus, now: datetime) -> Iterator[tuple[str, ...]]:
    age_s = (now - datetime.fromisoformat(status.seen_at)).total_seconds()
    head = status.name, status.state, f"{duration(max(0.0, age_s))} ago"
    for gpu in status.gpus:
        on_it = [_step_text(step) for step in status.steps if gpu.uuid in step.gpus]
        about = f"{gpu.index} {gpu.name}", _gib(gpu.total_gib), _gib(gpu.free_gib)
        yield (*head, *about, ", ".join(on_it))
        head = "", "", ""
    known = {gpu.uuid for gpu in status.gpus}
    others = [step for step in status.steps if not known.intersection(step.gpus)]
    if others or not status.gpus:
        # Where there never was a GPU, `--parallel` of whoever leads says how many go on.
        busy = sum(not step.gpus for step in others)
        slots = f"{busy} of {status.slots} slots"
        room = counted(len(others), "step") if status.cpu_only else slots
        yield (*head, f"none: {room}", "", "", ", ".join(map(_step_text, others)))


def _gib(gib: float) -> str:
    """`23.988` → `23.9`: a step that asks for 24 does not fit."""
    return f"{int(gib * 10) / 10:.1f}"


def _step_text(step: OnRunner) -> str:
    asked = f" ({step.vram_gib:g} GiB)" if step.vram_gib else ""
    return f"{step.stage} of {step.lora}{asked}"
