"""`lora-ci qa run LORA`: one LoRA as far as the stage `qa`; what was done before is reused."""

from __future__ import annotations

import argparse

from lora_ci.cli import train
from lora_ci.cli.output import Output
from lora_ci.core.step import Stage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `train`."""
    train.add_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Runs the stages up to this one."""
    return train.run_until(Stage.QA, args, output)
