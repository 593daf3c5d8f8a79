"""`lora-ci ledger`: looks after what ran: checks it, cleans it up, backs it up, exports it."""

from __future__ import annotations

import argparse

from lora_ci.cli.actions import add_actions
from lora_ci.cli.output import Output

ACTIONS = {
    "check": "tell what is wrong with the ledger and its store, and what to do",
    "gc": "remove what ended long ago and nothing needs any more",
    "pin": "keep an artifact or a record, whatever its age",
    "unpin": "let go of what was pinned",
    "backup": "write all rows to a folder while others go on, with the artifacts if wished",
    "restore": "bring a backup back into an empty ledger, of either kind of database",
    "export": "print runs, records and attempts for an analysis of your own",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A sub-command for each action."""
    add_actions(parser, "ledger", ACTIONS)


def run(args: argparse.Namespace, output: Output) -> int:
    """Does the chosen action."""
    return int(args.act(args, output))
