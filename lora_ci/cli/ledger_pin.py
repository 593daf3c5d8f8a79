"""`lora-ci ledger pin`: keeps an artifact or a record, whatever its age."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from lora_ci.cli.ledger_place import add_ledger_arguments, find_place, open_retention
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.core.errors import ExitCode, UsageError
from lora_ci.core.text import clean
from lora_ci.store.cache import mark_used
from lora_ci.store.inventory import stored

if TYPE_CHECKING:
    from lora_ci.ledger.retention import Retention

BEGINNING = re.compile(r"[0-9a-f]{8,64}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What, and why."""
    parser.add_argument(
        "digest",
        metavar="SHA256",
        help="an artifact, or the fingerprint of a record and all that it names; 8 letters do",
    )
    parser.add_argument("--why", required=True, metavar="TEXT", help="what people read later")
    add_ledger_arguments(parser)
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Pins it."""
    place = find_place(args)
    beginning = check_beginning(args.digest)
    database = place.open()
    try:
        retention = open_retention(database)
        sha256 = the_one(beginning, known(beginning, retention, place.objects))
        # A clean-up that goes on at the same time is not to take it away either.
        mark_used(place.objects / sha256[:2] / sha256[2:])
        retention.pin(sha256, args.why)
    finally:
        database.close()
    value = {"sha256": sha256, "why": args.why}
    output.result(f"pinned {sha256}: {clean(args.why)}", value, schema="ledger-pin")
    return ExitCode.PASSED


def check_beginning(text: str) -> str:
    """The beginning of a digest. Raises UsageError."""
    if not BEGINNING.fullmatch(text):
        hint = "expected 8 to 64 of 0-9 and a-f, as `lora-ci explain` and reports show them"
        raise UsageError(f"{text[:80]!r} is no beginning of a sha256", hint=hint)
    return text


def known(beginning: str, retention: Retention, objects: Path) -> set[str]:
    """The records and artifacts that are called so."""
    found = set(retention.records_called(beginning))
    return found | {one.sha256 for one in stored(objects) if one.sha256.startswith(beginning)}


def the_one(beginning: str, found: set[str]) -> str:
    """The digest that is meant. Raises UsageError."""
    if not found:
        message = f"{beginning} is neither a record nor in the store"
        raise UsageError(message, hint="next: lora-ci ledger export, which lists records")
    if len(found) > 1:
        message = f"{beginning} is the beginning of {len(found)} digests"
        raise UsageError(message, hint="give more of its letters")
    return found.pop()
