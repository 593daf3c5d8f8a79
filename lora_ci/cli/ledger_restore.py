"""`lora-ci ledger restore`: brings a backup back into an empty ledger."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from lora_ci.app.records import ledger_url
from lora_ci.cli.ledger_place import add_ledger_arguments, find_place, teller
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import ExitCode
from lora_ci.report.figures import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which backup; the ledger may be in another kind of database than it was."""
    parser.add_argument("source", type=Path, metavar="SRC", help="what `ledger backup` made")
    add_ledger_arguments(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Prints what came back."""
    place = find_place(args)
    from lora_ci.app.backup import restore
    from lora_ci.app.wiring import ensure_folder, ensure_state

    if place.url == ledger_url(place.state):
        ensure_state(place.state)
    ensure_folder(place.objects)
    back = restore(args.source, place.url, place.objects, SystemClock(), progress=teller(output))
    text = [
        f"{counted(sum(back.rows.values()), 'row')} and {counted(back.objects, 'artifact')} "
        f"restored from {args.source}"
    ]
    if back.interrupted:
        steps = counted(back.interrupted, "step")
        text.append(f"{steps} had not ended: interrupted; lora-ci run does them again")
    if back.absent:
        text.append(
            f"{counted(back.absent, 'artifact')} that rows name are not in {place.objects}: "
            "copy them there, or what they are needed for is made anew"
        )
    text.append("next: lora-ci ledger check, with the same options")
    output.result("\n".join(text), msgspec.to_builtins(back), schema="ledger-restore")
    return ExitCode.PASSED
