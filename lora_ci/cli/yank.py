"""`lora-ci yank`: says of a release that it must not be used any more."""

from __future__ import annotations

import argparse
from pathlib import Path

from lora_ci.app.records import STATE
from lora_ci.cli.hub import open_hub
from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.cli.place import top_of
from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import ExitCode, InputError, UsageError
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.text import clean
from lora_ci.deploy.pull import parse_wanted
from lora_ci.deploy.stores import FolderStore
from lora_ci.deploy.yank import yank
from lora_ci.forge.forge import Forge
from lora_ci.forge.local import LocalForge


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which release, why, and where it is."""
    parser.add_argument("release", metavar="LORA@VERSION", help="such as mei@v1.2.0")
    parser.add_argument(
        "--reason", required=True, metavar="TEXT", help="what people read who ask for it"
    )
    parser.add_argument(
        "--store",
        type=Path,
        required=True,
        action="append",
        metavar="FOLDER",
        help="release store; give it once for each",
    )
    parser.add_argument(
        "--repo", type=Path, default=Path(), help="repository that released it (default: here)"
    )
    parser.add_argument(
        "--forge",
        choices=("local", "github"),
        default="local",
        help="where its release page is: below .lora-ci/, or on GitHub, with GITHUB_TOKEN and "
        "GITHUB_REPOSITORY set",
    )
    parser.set_defaults(report_url=None, summary=None, github_output=None, annotations=None)
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Marks the release in the stores, then on its page."""
    wanted = parse_wanted(args.release)
    if wanted.version is None:
        hint = "expected such as mei@v1.2.0"
        raise UsageError(f"{args.release!r} names no version", hint=hint)
    for folder in args.store:
        if not folder.is_dir():
            raise UsageError(f"{folder} is no folder", hint="give the release store with --store")
    forge = open_hub(args).forge or LocalForge(top_of(args.repo) / STATE / "forge")
    stores = tuple(FolderStore(folder) for folder in args.store)
    mark = yank(stores, wanted.lora, wanted.version, args.reason, SystemClock().now())
    tag = f"{wanted.lora}@v{wanted.version}"
    output.findings(tell_forge(forge, tag, args.reason))
    text = [
        f"{wanted.lora} {wanted.version}: yanked in {', '.join(map(str, args.store))}",
        f"  {clean(args.reason)}",
        "next: tag a better version; channels that name this one are refused until then",
    ]
    output.result("\n".join(text), mark, schema="yank")
    return ExitCode.PASSED


def tell_forge(forge: Forge, tag: str, reason: str) -> tuple[Finding, ...]:
    """Marks the page of the release; a release that has none is told."""
    try:
        forge.mark_yanked(tag, reason)
    except InputError as error:
        message = f"marked in the store only: {error}"
        return (Finding(rule="yank.no-page", severity=Severity.INFO, message=message),)
    return ()
