"""Where judgements and votes on them lie: the state folder, or the ledger and store of a team."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_ci.app.records import STATE, ledger_url
from lora_ci.cli.place import top_of
from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import UsageError
from lora_ci.store.local import LocalStore

if TYPE_CHECKING:
    from lora_ci.ledger.ledger import Ledger


def add_state_arguments(parser: argparse.ArgumentParser) -> None:
    """Which folder, or which database and store."""
    parser.add_argument("--repo", type=Path, default=Path(), help="repository (default: here)")
    parser.add_argument(
        "--state",
        type=Path,
        metavar="FOLDER",
        help="state folder, such as --out of `qa ADAPTER` (default: .lora-ci/ of the repository)",
    )
    parser.add_argument(
        "--ledger-url",
        default=os.environ.get("LORA_CI_LEDGER_URL") or None,
        metavar="URL",
        help="database of the runs (default: LORA_CI_LEDGER_URL, else a file in the state folder)",
    )
    parser.add_argument(
        "--store",
        type=Path,
        default=os.environ.get("LORA_CI_STORE") or None,
        metavar="FOLDER",
        help="folder of the artifacts (default: LORA_CI_STORE, else in the state folder)",
    )


@dataclass(frozen=True, slots=True)
class Kept:
    """The judgements that are on record, and their pictures."""

    ledger: Ledger
    store: LocalStore


def open_kept(args: argparse.Namespace) -> Kept:
    """What the options name; makes no ledger where there is none. Raises UsageError."""
    state = args.state or top_of(args.repo) / STATE
    # A named folder is a world of its own, whatever database the environment names.
    url = None if args.state else args.ledger_url
    if url is None and not (state / "ledger.db").is_file():
        hint = "next: lora-ci qa run, or --state FOLDER"
        raise UsageError(f"{state}: nothing was judged there", hint=hint)
    from lora_ci.ledger.ledger import open_ledger  # loads SQLAlchemy

    objects = state / "objects" if args.state or args.store is None else args.store
    return Kept(open_ledger(url or ledger_url(state), SystemClock()), LocalStore(objects))
