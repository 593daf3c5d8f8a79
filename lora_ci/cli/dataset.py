"""`lora-ci dataset`: looks at datasets and makes them, with or without git."""

from __future__ import annotations

import argparse

from lora_ci.cli.actions import add_actions
from lora_ci.cli.output import Output

ACTIONS = {
    "validate": "check a folder of images and captions",
    "caption": "caption pictures by what several models say of them",
    "build": "make a dataset of the best diverse pictures of a folder",
    "show": "make one page of a folder: what is wrong, statistics, all pictures",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A sub-command for each action."""
    add_actions(parser, "dataset", ACTIONS)


def run(args: argparse.Namespace, output: Output) -> int:
    """Does the chosen action."""
    return int(args.act(args, output))
