"""`lora-ci pull`: takes a release out of a store, verified."""

from __future__ import annotations

import argparse
from pathlib import Path

from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.cli.verify import add_signers_argument
from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import ExitCode, UsageError
from lora_ci.deploy.pull import Pulled, Tool, parse_wanted, pull
from lora_ci.deploy.stores import FolderStore
from lora_ci.signing.signers import read_signers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What, from where, and where to."""
    parser.add_argument(
        "wanted",
        metavar="LORA[@VERSION|#CHANNEL]",
        help="such as mei, mei@v1.2.0 or mei#latest (default: where the channel latest points)",
    )
    parser.add_argument("--store", type=Path, required=True, metavar="FOLDER", help="release store")
    add_signers_argument(parser)
    parser.add_argument(
        "--to", type=Path, default=Path(), metavar="DIR", help="where it is put (default: here)"
    )
    parser.add_argument(
        "--for",
        dest="tool",
        choices=[str(tool) for tool in Tool],
        help="put the one file of this tool where it looks for it below DIR, as <lora>.safetensors "
        "(default: the whole release, as <lora>/<version>/)",
    )
    parser.add_argument(
        "--allow-yanked", action="store_true", help="take a version that its team took back"
    )
    add_output_arguments(parser)


def run(args: argparse.Namespace, output: Output) -> int:
    """Prints where the files are."""
    wanted = parse_wanted(args.wanted)
    if not args.store.is_dir():
        raise UsageError(f"{args.store} is no folder", hint="give the release store with --store")
    pulled = pull(
        FolderStore(args.store),
        wanted,
        signers=read_signers(args.signers),
        destination=args.to,
        tool=Tool(args.tool) if args.tool else None,
        today=SystemClock().now().date(),
        allow_yanked=args.allow_yanked,
    )
    output.result(render(pulled), pulled, schema="pull")
    return ExitCode.PASSED


def render(pulled: Pulled) -> str:
    """Where it is, what it is, who vouches for it."""
    origin = f"#{pulled.channel}" if pulled.channel else ""
    state = "pulled" if pulled.changed else "there already"
    lines = [f"{pulled.lora} {pulled.version}{origin}: {state}, signed by {pulled.signer}"]
    return "\n".join([*lines, *(f"  {file}" for file in pulled.files)])
