"""`lora-ci qa run LORA`: LoRAs as far as the stage `qa`; what was done before is reused."""

from __future__ import annotations

import argparse

from lora_ci.app.scope import Scope
from lora_ci.cli import run as run_command
from lora_ci.cli.output import Output
from lora_ci.core.step import Stage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which LoRAs, and the options of `run`."""
    parser.add_argument("loras", nargs="+", metavar="LORA", help="names in .lora-ci.yml")
    run_command.add_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Runs the stages up to this one; the exit code is that of the worst."""
    return run_command.run(args, output, Scope(loras=frozenset(args.loras), last=Stage.QA))
