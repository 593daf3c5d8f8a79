"""`lora-ci simulate-fleet`: what a number of GPUs would do with a number of LoRAs a day."""

from __future__ import annotations

import argparse
import logging
import re
from dataclasses import replace
from pathlib import Path

import msgspec

from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.core.errors import ExitCode, UsageError
from lora_ci.execution.fleet.measured import Measured
from lora_ci.execution.fleet.scenario import Arrivals, Scenario, parse_faults, parse_mix

EPILOG = (
    "The queue and the reconciler are those of `run` and `serve`; time, machines and steps are "
    "simulated. How long steps take and how often things break stands in docs/fleet.md."
)
MOST = 100_000
TURNAROUND = "4h"
DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(h|min|m)?")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The machines, the LoRAs, the faults."""
    parser.epilog = EPILOG
    parser.add_argument("--gpus", type=int, default=4, help="GPUs (default: 4)")
    parser.add_argument("--loras-per-day", type=float, required=True, metavar="N")
    parser.add_argument("--days", type=float, default=7.0, help="days of pushes (default: 7)")
    parser.add_argument(
        "--arrivals",
        choices=[a.value for a in Arrivals],
        default=Arrivals.POISSON.value,
        help="at any moment, in office hours, or 20 of one repository at once",
    )
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn (default: 0)")
    parser.add_argument(
        "--faults",
        default="all",
        metavar="KINDS",
        help="`all` (default), `none`, or some of gpu, node, preemption, network, data, server, "
        "clock, each with how often as usual: gpu,node=3",
    )
    parser.add_argument(
        "--mix",
        default="sd15=0.4,sdxl=0.6",
        metavar="SHARES",
        help="base models (default: sd15=0.4,sdxl=0.6, 55 GPU-minutes a LoRA)",
    )
    parser.add_argument(
        "--repositories", type=int, default=5, help="the n-th pushes 1/n as much (default: 5)"
    )
    parser.add_argument("--gpus-per-node", type=int, default=4, help="(default: 4)")
    parser.add_argument("--price", type=float, default=0.0, help="of a GPU for an hour")
    parser.add_argument(
        "--find-gpus", action="store_true", help="search the smallest number that is quick enough"
    )
    parser.add_argument(
        "--turnaround",
        metavar="TIME",
        help=f"with --find-gpus: 95 of 100 are back after it (default: {TURNAROUND})",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write fleet.html and fleet.json")
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Prints what was found."""
    from lora_ci.execution.fleet.page import TRIED, render_lines, render_page, tried_rows
    from lora_ci.execution.fleet.search import find_gpus, simulated

    scenario = scenario_of(args)
    if args.turnaround and not args.find_gpus:
        hint = f"next: --find-gpus --turnaround {args.turnaround}; without, it is measured"
        raise UsageError("--turnaround is what --find-gpus searches for", hint=hint)
    if args.out:
        make_folder(args.out)
    # That a simulated cluster is away is no news.
    logging.getLogger("lora_ci.execution").setLevel(logging.CRITICAL)

    def watch(done: float, days: float) -> None:
        output.progress(f"simulated {scenario.gpus} GPUs", int(10 * done), int(10 * days), "")

    lines: list[str] = []
    tried: tuple[Measured, ...] = ()
    if args.find_gpus:
        turnaround = args.turnaround or TURNAROUND
        found = find_gpus(scenario, hours_of(turnaround), watch)
        scenario, measured = replace(scenario, gpus=found.gpus), found.measured
        tried = found.tried
        rows = [TRIED, *tried_rows(tried)]
        lines = ["  ".join(f"{cell:>11}" for cell in row) for row in rows] + [""]
        lines.append(f"{found.gpus} GPUs bring 95 of 100 back in {turnaround}")
    else:
        measured = simulated(scenario, watch)
    value = {"scenario": scenario, "measured": measured, "tried": [brief(one) for one in tried]}
    if args.out:
        (args.out / "fleet.html").write_text(render_page(scenario, measured, tried))
        (args.out / "fleet.json").write_bytes(msgspec.json.encode(value))
        output.note(f"written: {args.out / 'fleet.html'}, {args.out / 'fleet.json'}")
    value["measured"] = brief(measured)
    lines.append(render_lines(scenario, measured))
    output.result("\n".join(lines), value, schema="simulate-fleet")
    return ExitCode.PASSED


def make_folder(out: Path) -> None:
    """Before minutes are spent. Raises UsageError where something else is there."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UsageError(f"--out: {out} is no folder", hint="next: --out FOLDER") from error


def scenario_of(args: argparse.Namespace) -> Scenario:
    """The scenario that the arguments ask for. Raises UsageError for what cannot be."""
    least = {"gpus": 1, "repositories": 1, "gpus_per_node": 1, "price": 0.0}
    for name, fewest in {**least, "loras_per_day": 1e-3, "days": 1e-3}.items():
        option, given = f"--{name.replace('_', '-')}", getattr(args, name)
        if not fewest <= given <= MOST:
            hint = f"expected a number from {fewest:g} to {MOST:,}"
            raise UsageError(f"{option}: {given:g} cannot be", hint=hint)
    return Scenario(
        gpus=args.gpus,
        loras_per_day=args.loras_per_day,
        days=args.days,
        arrivals=Arrivals(args.arrivals),
        seed=args.seed,
        faults=parse_faults(args.faults),
        mix=parse_mix(args.mix),
        repositories=args.repositories,
        gpus_per_node=args.gpus_per_node,
        price=args.price,
    )


def hours_of(text: str) -> float:
    """`4h`, `90m`, `90min` or a number of hours. Raises UsageError."""
    found = DURATION.fullmatch(text.strip())
    if not found or not float(found[1]):
        raise UsageError(
            f"--turnaround: {text!r} is no time", hint="next: --turnaround 4h, or 90min"
        )
    return float(found[1]) / (60 if found[2] in ("m", "min") else 1)


def brief(measured: Measured) -> dict[str, object]:
    """Without what only charts need."""
    whole: dict[str, object] = msgspec.to_builtins(measured)
    return {k: v for k, v in whole.items() if k not in ("moments", "turnarounds_h")}
