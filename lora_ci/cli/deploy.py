"""`lora-ci deploy`: releases the tested adapter of a commit as a version."""

from __future__ import annotations

import argparse

from lora_ci.cli import run as run_command
from lora_ci.cli.output import Output
from lora_ci.core.errors import UsageError
from lora_ci.plan.tags import parse_tag


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which LoRA as which version."""
    parser.add_argument("release", help="LoRA and version, such as mei@v1.0.0")
    run_command.add_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Does what a push of the tag would do."""
    if parse_tag(args.release) is None:
        message = f"`{args.release}` is no release; expected such as mei@v1.0.0"
        raise UsageError(message)
    args.tag = args.release
    if args.head == "HEAD":
        args.head = "HEAD^{commit}"
    return run_command.run(args, output)
