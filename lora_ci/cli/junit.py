"""The option `--junit`: what came of a run, for CI systems that show tests."""

from __future__ import annotations

import argparse
from pathlib import Path

from lora_ci.core.errors import UsageError
from lora_ci.core.run import RunView
from lora_ci.report.junit import render_junit


def add_junit_argument(parser: argparse.ArgumentParser) -> None:
    """Where the file is written."""
    parser.add_argument(
        "--junit",
        type=Path,
        metavar="FILE",
        help="also write the stages, gates and tests as JUnit XML, for CI systems that show tests",
    )


def forget_junit(args: argparse.Namespace) -> None:
    """Removes the file of an earlier run: one that breaks down must not seem to have passed.

    Raises UsageError where no file can be written.
    """
    if args.junit is None:
        return
    if args.junit.is_dir():
        raise UsageError(f"--junit {args.junit} is a folder", hint="next: --junit junit.xml")
    args.junit.unlink(missing_ok=True)


def write_junit(args: argparse.Namespace, view: RunView) -> None:
    """Writes the file where one was asked for."""
    if args.junit is not None:
        args.junit.parent.mkdir(parents=True, exist_ok=True)
        args.junit.write_text(render_junit(view), encoding="utf-8")
