"""The folder that `dataset validate` and `dataset show` look at: what is asked of it, and done."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from lora_ci.cli.output import Output
from lora_ci.core.errors import UsageError
from lora_ci.core.finding import Finding
from lora_ci.core.settings import ValidateSettings
from lora_ci.dataset.safety import file_scanners, scan_folders
from lora_ci.dataset.validate import Validation, validate_folder

STATE = Path(".lora-ci")


def add_folder_arguments(parser: argparse.ArgumentParser) -> None:
    """The folder, what its captions must hold, and what it is compared with."""
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trigger", help="the token that calls the concept (default: the folder)")
    parser.add_argument("--references", type=Path, help="held-out pictures: must not be in both")
    parser.add_argument("--base-model", type=Path, help="its tokenizer counts the captions' tokens")


def check_folders(args: argparse.Namespace) -> None:
    """Raises UsageError for what is no folder."""
    for folder in filter(None, (args.folder, args.references, args.base_model)):
        if not folder.is_dir():
            raise UsageError(f"{folder} is no folder", hint=f"next: ls {folder.parent}")


def find_infected(args: argparse.Namespace, output: Output) -> list[Finding]:
    """Files that must not be opened, as the scanners of this machine say."""
    scanners = file_scanners(ValidateSettings(), None, os.environ)
    folders = {folder: str(folder) for folder in (args.folder, args.references) if folder}

    def progress(done: int, total: int, note: str) -> None:
        output.progress("scan", done, total, note)

    return scan_folders(folders, scanners, _cache(), progress)


def validated(args: argparse.Namespace, output: Output, *, shown_as: str) -> Validation:
    """All checks, with the settings as they are by default."""

    def progress(done: int, total: int, note: str) -> None:
        output.progress("validate", done, total, note)

    return validate_folder(
        args.folder,
        args.trigger or args.folder.resolve().name,
        ValidateSettings(),
        shown_as=shown_as,
        references=args.references,
        base_model=args.base_model,
        cache=_cache(),
        progress=progress,
    )


def _cache() -> Path | None:
    return STATE / "cache" if STATE.is_dir() else None
