"""`lora-ci dataset validate`: checks a folder of images and captions, with or without git."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.core.errors import ExitCode, UsageError
from lora_ci.core.settings import ValidateSettings
from lora_ci.dataset.caption_fixes import find_fixes
from lora_ci.dataset.files import list_files
from lora_ci.dataset.safety import file_scanners, scan_folders
from lora_ci.dataset.validate import Validation, validate_folder
from lora_ci.report.figures import counted

STATE = Path(".lora-ci")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The folder and what its captions must hold."""
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trigger", help="the token that calls the concept (default: the folder)")
    parser.add_argument("--references", type=Path, help="held-out pictures: must not be in both")
    parser.add_argument("--base-model", type=Path, help="its tokenizer counts the captions' tokens")
    parser.add_argument("--fix", action="store_true", help="mend what changes no word of captions")
    parser.add_argument("--dry-run", action="store_true", help="with --fix: show it, write nothing")
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Prints the findings."""
    for folder in filter(None, (args.folder, args.references, args.base_model)):
        if not folder.is_dir():
            raise UsageError(f"{folder} is no folder")
    if args.dry_run and not args.fix:
        raise UsageError("--dry-run goes with --fix")
    if args.fix:
        _fix(args.folder, output, dry=args.dry_run)
    cache = STATE / "cache" if STATE.is_dir() else None

    def progress(done: int, total: int, note: str) -> None:
        output.progress("validate", done, total, note)

    scanners = file_scanners(ValidateSettings(), None, os.environ)
    folders = {folder: str(folder) for folder in (args.folder, args.references) if folder}
    if infected := scan_folders(folders, scanners, cache, progress):
        output.findings(infected)
        figures = {"errors": float(len(infected))}
        found = Validation(findings=tuple(infected), metrics=figures, statistics={})
        told = f"{counted(len(infected), 'file')} must not be opened: nothing else was checked"
        output.result(told, found, schema="dataset")
        return ExitCode.FAILED
    validation = validate_folder(
        args.folder,
        args.trigger or args.folder.resolve().name,
        ValidateSettings(),
        shown_as=str(args.folder),
        references=args.references,
        base_model=args.base_model,
        cache=cache,
        progress=progress,
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
