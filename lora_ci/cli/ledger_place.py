"""Which ledger the actions of `lora-ci ledger` are about, and which store."""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_ci.app.records import STATE, ledger_file, ledger_url
from lora_ci.cli.output import Output
from lora_ci.cli.place import top_of
from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from lora_ci.ledger.database import Database
    from lora_ci.ledger.retention import Retention

QUIET_S = 1.0


def add_ledger_arguments(parser: argparse.ArgumentParser) -> None:
    """Where rows and artifacts are."""
    group = parser.add_argument_group("which ledger")
    group.add_argument("--repo", type=Path, default=Path(), help="repository (default: here)")
    group.add_argument(
        "--state",
        type=Path,
        metavar="FOLDER",
        help="state folder, such as that of a batch (default: .lora-ci/ of the repository)",
    )
    group.add_argument(
        "--ledger-url",
        metavar="URL",
        help="database (default: a file in the folder of --state; without that "
        "LORA_CI_LEDGER_URL, else a file in .lora-ci/)",
    )
    group.add_argument(
        "--store",
        type=Path,
        metavar="FOLDER",
        help="folder of the artifacts (default: in the folder of --state; without that "
        "LORA_CI_STORE, else in .lora-ci/)",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A ledger; with `alone`, it is the only one of the state folder, and uses the store there."""

    state: Path
    url: str
    objects: Path
    alone: bool

    def open(self) -> Database:
        """The database. Raises UsageError for a file that is not there: none is made."""
        file = ledger_file(self.url)
        if file and not file.is_file():
            hint = "next: lora-ci run, or --state FOLDER, or --ledger-url URL"
            raise UsageError(f"there is no ledger {file}", hint=hint)
        from lora_ci.ledger.database import open_database  # loads SQLAlchemy

        return open_database(self.url, SystemClock())


def find_place(args: argparse.Namespace) -> Place:
    """What the options name, and where they do not, the environment."""
    state = args.state or top_of(args.repo) / STATE
    # A named folder is a world of its own, whatever database the environment names.
    named = {} if args.state else os.environ
    url = args.ledger_url or named.get("LORA_CI_LEDGER_URL") or None
    store = args.store or named.get("LORA_CI_STORE") or None
    return Place(
        state=state,
        url=url or ledger_url(state),
        objects=Path(store) if store else state / "objects",
        alone=url is None and store is None and not _others(state),
    )


def _others(state: Path) -> bool:
    """True where the state folder has further ledgers: a bot's steps, or one that was damaged."""
    return any(path.name != "ledger.db" for path in state.glob("*.db")) or any(
        (state / "damaged").glob("*.db")
    )


def open_retention(database: Database) -> Retention:
    """What says which of the past is needed."""
    from lora_ci.execution.lead import is_gone
    from lora_ci.ledger.retention import Retention

    return Retention(database, is_gone)


def teller(output: Output) -> Callable[[str, int, int], None]:
    """Shows how far long work is; short work needs no words."""
    began = time.monotonic()

    def tell(label: str, done: int, total: int) -> None:
        if time.monotonic() - began > QUIET_S:
            output.progress(label, done, total, "")

    return tell
