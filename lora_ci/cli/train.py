"""`lora-ci train`: runs one LoRA as far as the stage `train`; what was done before is reused."""

from __future__ import annotations

import argparse

from lora_ci.app.scope import Scope
from lora_ci.cli import run as run_command
from lora_ci.cli.output import Output
from lora_ci.core.step import Stage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which LoRA."""
    parser.add_argument("lora", help="name of the LoRA in .lora-ci.yml")
    run_command.add_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Runs the stages up to this one; the exit code is that of the worst step."""
    scope = Scope(loras=frozenset([args.lora]), last=Stage.TRAIN)
    return run_command.run(args, output, scope)
