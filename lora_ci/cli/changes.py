"""`lora-ci changes`: which files of which datasets differ between two commits."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from lora_ci.app.git_source import GitSource, find_changes, open_git_source, read_config
from lora_ci.cli.events import compared
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.config.model import FILE_NAME, Config
from lora_ci.core.errors import ExitCode, UsageError
from lora_ci.core.event import Event, EventKind
from lora_ci.core.finding import Finding
from lora_ci.report.changes import changes_json, render_changes_text


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which commit, compared with which."""
    parser.add_argument("--repo", type=Path, default=Path(), help="repository (default: here)")
    parser.add_argument("--head", default="HEAD", help="commit to look at (default: HEAD)")
    parser.add_argument(
        "--base", help="commit to compare with (default: where the head left the default branch)"
    )
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Prints the differences; 1 if some of them cannot be told."""
    source = open_git_source(args.repo)
    head = source.repo.commit(args.head)
    event = Event(kind=EventKind.MANUAL, repo=source.root.name, head=head)
    event = compared(event, source, base=args.base)
    config, findings = read_own_config(source, head)
    changes = find_changes(source, event, config)
    output.result(render_changes_text(changes), changes_json(changes), schema=None)
    output.findings(findings)
    unknown = bool(findings) or any(change.unknown for change in changes.datasets)
    return ExitCode.FAILED if unknown else ExitCode.PASSED


def read_own_config(source: GitSource, head: str) -> tuple[Config | None, tuple[Finding, ...]]:
    """The config of the head if it has one, and why it cannot be read."""
    read = partial(source.repo.file, head)
    if read(FILE_NAME) is None:
        return None, ()
    try:
        return read_config(read, head), ()
    except UsageError as error:
        return None, error.findings
