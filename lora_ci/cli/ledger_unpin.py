"""`lora-ci ledger unpin`: lets go of what was pinned."""

from __future__ import annotations

import argparse

from lora_ci.cli.ledger_pin import check_beginning
from lora_ci.cli.ledger_place import add_ledger_arguments, find_place, open_retention
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.core.errors import ExitCode, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What."""
    parser.add_argument("digest", metavar="SHA256", help="as `ledger check` lists it")
    add_ledger_arguments(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Removes the pin."""
    place = find_place(args)
    beginning = check_beginning(args.digest)
    database = place.open()
    try:
        retention = open_retention(database)
        found = [pin for pin in retention.pins() if pin.sha256.startswith(beginning)]
        if len(found) != 1:
            what = "is not pinned" if not found else f"is the beginning of {len(found)} pins"
            raise UsageError(f"{beginning} {what}", hint="next: lora-ci ledger check lists pins")
        retention.unpin(found[0].sha256)
    finally:
        database.close()
    output.result(f"unpinned {found[0].sha256}", {"sha256": found[0].sha256}, schema="ledger-unpin")
    return ExitCode.PASSED
