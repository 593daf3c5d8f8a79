"""`lora-ci dataset validate`: checks a folder of images and captions, with or without git."""

from __future__ import annotations

import argparse
from pathlib import Path

from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.core.errors import ExitCode, UsageError
from lora_ci.core.settings import ValidateSettings
from lora_ci.dataset.validate import validate_folder

STATE = Path(".lora-ci")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The folder and what its captions must hold."""
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trigger", help="the token that calls the concept (default: the folder)")
    parser.add_argument("--references", type=Path, help="held-out pictures: must not be in both")
    parser.add_argument("--base-model", type=Path, help="its tokenizer counts the captions' tokens")
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Prints the findings."""
    for folder in filter(None, (args.folder, args.references, args.base_model)):
        if not folder.is_dir():
            raise UsageError(f"{folder} is no folder")
    validation = validate_folder(
        args.folder,
        args.trigger or args.folder.resolve().name,
        ValidateSettings(),
        shown_as=str(args.folder),
        references=args.references,
        base_model=args.base_model,
        cache=STATE / "cache" if STATE.is_dir() else None,
        progress=lambda done, total, note: output.progress("validate", done, total, note),
    )
    figures = validation.metrics
    output.findings(validation.findings)
    output.result(
        f"{figures['images']:.0f} images, {figures['errors']:.0f} errors, "
        f"{figures['warnings']:.0f} warnings",
        validation,
        schema="dataset",
    )
    return ExitCode.FAILED if validation.failed else ExitCode.PASSED
