"""`lora-ci dataset validate`: checks a folder of images and captions, with or without git."""

from __future__ import annotations

import argparse
from pathlib import Path

from lora_ci.cli.dataset_folder import (
    add_folder_arguments,
    check_folders,
    find_infected,
    validated,
)
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.core.errors import ExitCode, UsageError
from lora_ci.dataset.caption_fixes import find_fixes
from lora_ci.dataset.files import list_files
from lora_ci.report.figures import counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The folder and what its captions must hold."""
    add_folder_arguments(parser)
    parser.add_argument("--fix", action="store_true", help="mend what changes no word of captions")
    parser.add_argument("--dry-run", action="store_true", help="with --fix: show it, write nothing")
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Prints the findings."""
    check_folders(args)
    if args.dry_run and not args.fix:
        raise UsageError("--dry-run goes with --fix")
    if args.fix:
        _fix(args.folder, output, dry=args.dry_run)
    if infected := find_infected(args, output):
        output.findings(infected)
        metrics = {"errors": float(len(infected))}
        value = {"findings": infected, "metrics": metrics, "statistics": {}}
        told = f"{counted(len(infected), 'file')} must not be opened: nothing else was checked"
        output.result(told, value, schema="dataset")
        return ExitCode.FAILED
    validation = validated(args, output, shown_as=str(args.folder))
    figures = validation.metrics
    output.findings(validation.findings)
    value = {
        "findings": validation.findings,
        "metrics": figures,
        "statistics": validation.statistics,
    }
    output.result(
        f"{figures['images']:.0f} images, {figures['errors']:.0f} errors, "
        f"{figures['warnings']:.0f} warnings",
        value,
        schema="dataset",
    )
    return ExitCode.FAILED if validation.failed else ExitCode.PASSED


def _fix(folder: Path, output: Output, *, dry: bool) -> None:
    """Mends captions, or shows what would be mended."""
    listing = list_files(folder)
    mended = 0
    for fix in find_fixes(folder, listing.images, listing.names):
        mended += 1
        if dry:
            output.note(fix.diff())
        else:
            fix.write(folder)
    output.note(f"captions {'that would be ' if dry else ''}mended: {mended}")
