"""`lora-ci ledger check`: tells what is wrong with the ledger and its store, and what to do."""

from __future__ import annotations

import argparse

from lora_ci.cli.ledger_place import add_ledger_arguments, find_place, open_retention, teller
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import ExitCode
from lora_ci.core.text import clean
from lora_ci.report.figures import counted, size

MOST_SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How thorough it is, and whether it mends."""
    parser.add_argument("--deep", action="store_true", help="also read every artifact")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="end steps that nobody moves on any more as interrupted; nothing else is changed",
    )
    parser.add_argument(
        "--gone",
        action="append",
        default=[],
        metavar="EXECUTOR",
        help="an executor that is no more, as findings call it, such as a cluster that was given "
        "up: with --repair its attempts are ended too; may be given again",
    )
    add_ledger_arguments(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Prints the findings; exit code 1 where something has to be done."""
    place = find_place(args)
    database = place.open()
    from lora_ci.app.examine import Examiner, shortened
    from lora_ci.ledger.checking import Checks

    examiner = Examiner(
        checks=Checks(database),
        retention=open_retention(database),
        objects=place.objects,
        clock=SystemClock(),
    )
    try:
        found = examiner.examine(
            deep=args.deep, repair=args.repair, progress=teller(output), gone=args.gone
        )
    finally:
        database.close()
    if not output.json:
        output.findings(shortened(found.findings, MOST_SHOWN))
    text = [
        f"{counted(found.objects, 'artifact')} ({size(found.object_bytes)}), "
        f"{found.unreferenced} of them ({size(found.unreferenced_bytes)}) named by nothing",
        *(f"pinned: {pin.sha256[:12]}  {pin.at[:10]}  {clean(pin.why)}" for pin in found.pins),
        *([f"{counted(found.repaired, 'row')} put right"] if args.repair else []),
        "nothing has to be done" if found.is_sound else "something has to be done: see above",
    ]
    value = {
        "sound": found.is_sound,
        "findings": found.findings,
        "pins": found.pins,
        "objects": found.objects,
        "object_bytes": found.object_bytes,
        "unreferenced": found.unreferenced,
        "unreferenced_bytes": found.unreferenced_bytes,
        "repaired": found.repaired,
    }
    output.result("\n".join(text), value, schema="ledger-check")
    return ExitCode.PASSED if found.is_sound else ExitCode.FAILED
