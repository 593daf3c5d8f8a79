"""`lora-ci exec-step`: what an executor calls on the machine that does the work."""

from __future__ import annotations

import argparse
from pathlib import Path

from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.steps.main import main


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The step folder and where artifacts and caches are."""
    parser.add_argument("folder", type=Path, help="folder that holds spec.json")
    parser.add_argument("--store", type=Path, required=True, help="artifact store")
    parser.add_argument("--cache", type=Path, required=True, help="shared cache folder")
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Executes the step; its result is written to the folder."""
    code = main(args.folder, args.store, args.cache)
    output.note(f"result: {args.folder / 'result.json'}")
    return code
