"""`lora-ci ledger export`: runs, records and attempts for an analysis of your own."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from lora_ci.cli.ledger_place import add_ledger_arguments, find_place
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.core.errors import ExitCode


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """From when on, and in which form."""
    parser.add_argument(
        "--since",
        type=moment,
        metavar="DATE",
        help="what began (records: ended) then or later, such as 2026-11-01 (default: all); UTC",
    )
    parser.add_argument(
        "--csv", action="store_true", help="a table instead of one JSON object a line"
    )
    add_ledger_arguments(parser)
    add_output_arguments(parser)


def moment(text: str) -> str:
    """A date or a time as the ledger writes times."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        message = f"{text!r}: expected a date such as 2026-11-01"
        raise argparse.ArgumentTypeError(message) from None
    at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    return at.isoformat(timespec="microseconds")


def run(args: argparse.Namespace, output: Output) -> int:
    """Prints the rows as they are read."""
    database = find_place(args).open()
    from lora_ci.ledger.export import COLUMNS, export

    try:
        rows = export(database, args.since or "")
        if output.json:
            output.result("", {"rows": list(rows)}, schema="ledger-export")
        elif args.csv:
            table = csv.writer(sys.stdout, lineterminator="\n")
            table.writerow(COLUMNS)
            table.writerows(as_text(row, COLUMNS) for row in rows)
        else:
            for row in rows:
                output.event(row)
    finally:
        database.close()
    return ExitCode.PASSED


def as_text(row: dict[str, Any], columns: tuple[str, ...]) -> Iterator[object]:
    """The cells of a row; what has parts is JSON, what is not known is empty."""
    for name in columns:
        value = row.get(name)
        yield msgspec.json.encode(value).decode() if isinstance(value, dict) else value
