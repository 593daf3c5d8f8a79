"""`lora-ci ledger backup`: writes all rows to a folder while others go on."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from lora_ci.cli.ledger_place import add_ledger_arguments, find_place, teller
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import ExitCode
from lora_ci.report.figures import counted, size


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to."""
    parser.add_argument(
        "target", type=Path, metavar="DEST", help="a new folder; it appears whole or not at all"
    )
    parser.add_argument(
        "--with-objects",
        action="store_true",
        help="the artifacts too: hard links to the store's where the disk is the same, else copies",
    )
    add_ledger_arguments(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Prints what is in the backup."""
    place = find_place(args)
    database = place.open()
    from lora_ci.app.backup import write_backup

    try:
        manifest = write_backup(
            database,
            place.objects,
            args.target,
            SystemClock(),
            with_objects=args.with_objects,
            progress=teller(output),
        )
    finally:
        database.close()
    what = f"{counted(manifest.objects, 'artifact')} ({size(manifest.object_bytes)})"
    text = [
        f"{args.target}: {counted(sum(manifest.rows.values()), 'row')}, "
        + (f"and {what}" if manifest.with_objects else f"which need {what}, not in it"),
    ]
    if manifest.absent:
        text.append(f"{counted(manifest.absent, 'artifact')} that rows name were not in the store")
    text.append(f"next: lora-ci ledger restore {args.target} --state FOLDER, to try it")
    value = {"target": str(args.target), **msgspec.to_builtins(manifest)}
    output.result("\n".join(text), value, schema="ledger-backup")
    return ExitCode.PASSED
