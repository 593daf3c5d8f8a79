"""The runs that are on record where the options of `status` and `logs` say."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lora_ci.app.records import STATE, ledger_file, ledger_url
from lora_ci.changes.git import open_repository
from lora_ci.cli.place import top_of
from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import UsageError
from lora_ci.store.local import LocalStore

if TYPE_CHECKING:
    from lora_ci.ledger.attempts import Attempts, RunState
    from lora_ci.ledger.ledger import Ledger


def add_recorded_arguments(parser: argparse.ArgumentParser) -> None:
    """Which ledger, and which store."""
    parser.add_argument("--repo", type=Path, default=Path(), help="repository (default: here)")
    parser.add_argument(
        "--state",
        type=Path,
        metavar="FOLDER",
        help="state folder, such as that of a batch (default: .lora-ci/ of the repository)",
    )
    parser.add_argument(
        "--ledger-url",
        metavar="URL",
        help="database of the runs (default: a file in the folder of --state; without that "
        "LORA_CI_LEDGER_URL, else a file in .lora-ci/)",
    )
    parser.add_argument(
        "--store",
        type=Path,
        metavar="FOLDER",
        help="folder of the artifacts (default: in the folder of --state; without that "
        "LORA_CI_STORE, else in .lora-ci/)",
    )


@dataclass(frozen=True, slots=True)
class Recorded:
    """What ran, and what it left."""

    ledger: Ledger
    attempts: Attempts
    store: LocalStore

    def run(self, run_id: str | None) -> RunState:
        """The run of that id, or the newest. Raises UsageError."""
        found = self.attempts.run(run_id)
        if found is None:
            if run_id is None:
                raise no_run()
            raise UsageError(f"there is no run `{run_id}`", hint="next: lora-ci status")
        return found


def no_run() -> UsageError:
    """What is told where nothing was ever run."""
    return UsageError("there is no run yet", hint="next: lora-ci run, or --state FOLDER")


def is_left(run: RunState) -> bool:
    """True where the process that moved the run on is known to be gone."""
    from lora_ci.execution.lead import is_gone

    return run.outcome is None and run.owner is not None and is_gone(run.owner)


def open_recorded(args: argparse.Namespace) -> Recorded | None:
    """What the options name; None where nothing was ever run, and nothing is made there.

    Raises UsageError where neither a repository nor anything else is named, and for a named file
    or folder that is not there.
    """
    # A named folder is a world of its own, whatever database the environment names.
    named = {} if args.state else os.environ
    url = args.ledger_url or named.get("LORA_CI_LEDGER_URL") or None
    store = args.store or named.get("LORA_CI_STORE") or None
    state = args.state or top_of(args.repo) / STATE
    if url and (file := ledger_file(url)) and not file.is_file():
        hint = "next: lora-ci run, which makes it, or the --ledger-url of another one"
        raise UsageError(f"there is no ledger {file}", hint=hint)
    if url is None and not (state / "ledger.db").is_file():
        if args.state is None:
            open_repository(args.repo)  # outside of one, that is what is wrong
        elif not state.is_dir():
            hint = f"next: ls -d {state.parent}/*; expected a state folder, such as .lora-ci"
            raise UsageError(f"--state {state}: there is no such folder", hint=hint)
        return None
    from lora_ci.ledger.attempts import Attempts  # loads SQLAlchemy
    from lora_ci.ledger.database import open_database
    from lora_ci.ledger.ledger import Ledger

    database = open_database(url or ledger_url(state), SystemClock())
    objects = Path(store) if store else state / "objects"
    return Recorded(Ledger(database), Attempts(database), LocalStore(objects))
