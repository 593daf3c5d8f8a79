"""`lora-ci ledger gc`: removes what ended long ago and nothing needs any more."""

from __future__ import annotations

import argparse
from datetime import timedelta

import msgspec

from lora_ci.cli.ledger_place import add_ledger_arguments, find_place, open_retention, teller
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import ExitCode
from lora_ci.report.figures import counted, size

DAYS = 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """From what age, and whether the store is nobody else's."""
    parser.add_argument(
        "--older-than",
        type=days,
        default=timedelta(days=DAYS),
        metavar="DAYS",
        help=f"keep what ended in the last so many days (default: {DAYS})",
    )
    parser.add_argument("--dry-run", action="store_true", help="only tell what would be removed")
    parser.add_argument(
        "--store-is-ours",
        action="store_true",
        help="no other ledger needs what is in the store: remove artifacts even where that is not "
        "sure, as in a store or with a database that an option or the environment names",
    )
    add_ledger_arguments(parser)
    add_output_arguments(parser)


def days(text: str) -> timedelta:
    """A whole number of days, from 1."""
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= 36500:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of days, from 1")
    return timedelta(days=int(text))


def run(args: argparse.Namespace, output: Output) -> int:
    """Prints how much went."""
    place = find_place(args)
    database = place.open()
    from lora_ci.app.clean_up import CleanUp, Places

    retention = open_retention(database)
    # Of a store that was there before its ledger nothing is known.
    ours = args.store_is_ours or (place.alone and retention.has_records())
    work = CleanUp(
        retention=retention,
        places=Places(state=place.state, objects=place.objects, ours=ours),
        clock=SystemClock(),
        dry_run=args.dry_run,
        progress=teller(output),
    )
    try:
        gone = work.run(args.older_than)
    finally:
        database.close()
    counts = (
        (gone.runs, "run", None),
        (gone.records, "record", None),
        (gone.objects, "artifact", gone.object_bytes),
        (gone.folders, "folder", gone.folder_bytes),
    )
    words = [
        counted(count, noun) + (f" ({size(size_bytes)})" if size_bytes else "")
        for count, noun, size_bytes in counts
    ]
    text = f"{'would remove' if args.dry_run else 'removed'}: {', '.join(words)}"
    if gone.left_for_others:
        output.note(
            f"{counted(gone.left_for_others, 'artifact')} in {place.objects} that this ledger does "
            "not need stay: another one may\n"
            "  → next: the same with --store-is-ours, if no other ledger uses that folder"
        )
    value = {"dry_run": args.dry_run, **msgspec.to_builtins(gone)}
    output.result(text, value, schema="ledger-gc")
    return ExitCode.PASSED
