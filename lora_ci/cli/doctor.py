"""`lora-ci doctor`: tells whether this machine can do what it is wanted for, and what to mend."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.cli.place import top_of
from lora_ci.cli.run import executor_name
from lora_ci.core.errors import ExitCode, UsageError
from lora_ci.core.text import clean
from lora_ci.doctor.checked import Checked, State, examine
from lora_ci.doctor.checks import Wanted, checks_of
from lora_ci.doctor.host import repository_name
from lora_ci.doctor.machine import Machine, ThisMachine
from lora_ci.doctor.server import Serving

MARKS = {State.OK: "ok", State.WARNING: "warning", State.ERROR: "ERROR", State.SKIPPED: "-"}
GITHUB = "https://api.github.com"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The repository, and what the machine is for."""
    parser.add_argument("--repo", type=Path, default=Path(), help="repository (default: here)")
    parser.add_argument("--gpu", action="store_true", help="it is an error to have no fit GPU")
    parser.add_argument("--webhook", metavar="URL", help="where GitHub reaches lora-ci serve")
    parser.add_argument("--records", metavar="REMOTE", help="git remote that takes records: origin")
    parser.add_argument(
        "--executor",
        type=executor_name,
        default="inline",
        metavar="WHERE",
        help="where steps are to run, as `run` and `serve` are told (default: inline)",
    )
    server = parser.add_argument_group("a machine that runs `lora-ci serve`")
    server.add_argument(
        "--server", type=Path, metavar="FOLDER", help="its --state; no repository is looked at"
    )
    server.add_argument(
        "--ledger-url",
        metavar="URL",
        help="as it is given (default: LORA_CI_LEDGER_URL, else a file in the folder)",
    )
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Prints one line a check and what to do below; exit code 1 if there is an error."""
    machine = ThisMachine()
    root = top_of(args.repo)
    wanted = Wanted(
        root=root,
        gpu=args.gpu,
        api_url=os.environ.get("GITHUB_API_URL", GITHUB).rstrip("/"),
        repo=os.environ.get("GITHUB_REPOSITORY") or origin_of(machine, root),
        token=os.environ.get("GITHUB_TOKEN") or None,
        webhook=args.webhook,
        records=args.records,
        serving=serving(args),
        executor=args.executor,
    )
    said = examine(checks_of(machine, wanted))
    failed = any(checked.state is State.ERROR for checked in said.values())
    output.result(as_text(said), {"healthy": not failed, "checks": said}, schema="doctor")
    return ExitCode.FAILED if failed else ExitCode.PASSED


def serving(args: argparse.Namespace) -> Serving | None:
    """The server that is asked for. Raises UsageError for a part of it without the rest."""
    if args.server is None:
        if args.ledger_url:
            hint = "next: --server FOLDER, its --state; or lora-ci ledger check --ledger-url URL"
            raise UsageError("--ledger-url is of a server, and none is named", hint=hint)
        return None
    ledger_url = args.ledger_url or os.environ.get("LORA_CI_LEDGER_URL") or None
    return Serving(state=args.server.resolve(), executor=args.executor, ledger_url=ledger_url)


def origin_of(machine: Machine, root: Path) -> str | None:
    """The repository at the host, by the remote `origin`."""
    ran = machine.run("git", "-C", str(root), "config", "--get", "remote.origin.url")
    return repository_name(ran.out) if ran else None


def as_text(said: dict[str, Checked]) -> str:
    """A line a check; what programs and servers said is printed as one line of text."""
    lines = []
    for name, checked in said.items():
        lines.append(f"{MARKS[checked.state]:<8} {name:<9} {clean(checked.found)}")
        if checked.fix and checked.state in (State.WARNING, State.ERROR):
            lines.append(f"{'':<18} → {clean(checked.fix)}")
    return "\n".join(lines)
