"""`lora-ci verify`: tells whether a release folder is whole, and who signed it."""

from __future__ import annotations

import argparse
from pathlib import Path

from lora_ci.cli.output import Output, add_output_arguments
from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import ExitCode
from lora_ci.deploy.verify import verify_release
from lora_ci.signing.signers import FILE_NAME, read_signers


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The folder, and whose signatures count."""
    parser.add_argument("folder", type=Path, help="a folder with release.json and model.sig")
    add_signers_argument(parser)
    add_output_arguments(parser)


def add_signers_argument(parser: argparse.ArgumentParser) -> None:
    """The trust file."""
    parser.add_argument(
        "--signers",
        type=Path,
        default=Path(FILE_NAME),
        metavar="FILE",
        help=f"whose signatures count (default: {FILE_NAME} here)",
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Prints what the release is; a refusal names the file and the reason."""
    verified = verify_release(args.folder, read_signers(args.signers), SystemClock().now().date())
    release, signer = verified.release, verified.signer
    text = f"{release.lora} {release.version}: {len(verified.files)} files, signed by {signer.name}"
    output.result(
        f"{text} (key {signer.id})",
        {
            "release": release,
            "signer": signer.name,
            "key_id": signer.id,
            "files": verified.files,
        },
        schema="verify",
    )
    return ExitCode.PASSED
