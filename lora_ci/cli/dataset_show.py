"""`lora-ci dataset show`: a folder of images and captions as one page to look through."""

from __future__ import annotations

import argparse
from pathlib import Path

from lora_ci.cli.dataset_folder import add_folder_arguments, check_folders, find_infected, validated
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.core.errors import ExitCode, UsageError, machine_error
from lora_ci.dataset.show import MOST_PICTURES, show_dataset
from lora_ci.report.figures import counted, size
from lora_ci.steps.folder import write_whole

SHOWN = 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The folder, and the page of it."""
    add_folder_arguments(parser)
    parser.add_argument(
        "--out", type=Path, metavar="PAGE", help="the page (default: dataset-<folder>.html here)"
    )
    parser.add_argument(
        "--max",
        type=int,
        default=SHOWN,
        metavar="N",
        help=f"show at most so many pictures, the worst first (default: {SHOWN})",
    )
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Writes the page, whatever it says of the dataset: `dataset validate` is what fails."""
    check_folders(args)
    name = args.folder.resolve().name
    out = args.out or Path(f"dataset-{name}.html")
    _check(args, out)
    if infected := find_infected(args, output):
        output.findings(infected)
        told = f"{counted(len(infected), 'file')} must not be opened: there is no page"
        output.result(told, {"page": None, "findings": infected}, schema="dataset-show")
        return ExitCode.FAILED
    validation = validated(args, output, shown_as="")

    def progress(done: int, total: int) -> None:
        output.progress("show", done, total, "pictures")

    page = show_dataset(name, validation, most=args.max, progress=progress)
    data = page.html.encode()
    try:
        write_whole(out, data)
    except OSError as error:
        expected = machine_error(error, out)
        if expected is None:
            raise
        raise expected from error
    figures = validation.metrics
    output.result(
        f"{counted(int(figures['errors']), 'error')}, "
        f"{counted(int(figures['warnings']), 'warning')}; {page.shown:,} of "
        f"{counted(int(figures['images']), 'picture')} in {out} ({size(len(data))})",
        {"page": str(out), "size_bytes": len(data), "shown": page.shown, "metrics": figures},
        schema="dataset-show",
    )
    return ExitCode.PASSED


def _check(args: argparse.Namespace, out: Path) -> None:
    """Raises UsageError for options that cannot be, before anything is looked at."""
    if not 1 <= args.max <= MOST_PICTURES:
        message = f"--max {args.max}: expected 1 to {MOST_PICTURES}"
        raise UsageError(message, hint="next: lora-ci dataset show --help")
    if out.is_dir():
        raise UsageError(f"{out} is a folder", hint=f"next: --out {out / 'dataset.html'}")
    if not out.parent.is_dir():
        raise UsageError(f"{out.parent} is no folder", hint=f"next: mkdir -p {out.parent}")
    for folder in filter(None, (args.folder, args.references)):
        if folder.resolve() in out.resolve().parents:
            message = f"{out} would become part of {folder}"
            raise UsageError(message, hint="next: --out, with a place outside of it")
