"""`lora-ci deploy`: releases what a tag names; `deploy new-key` makes the key that signs."""

from __future__ import annotations

import argparse
from pathlib import Path

from lora_ci.changes.git import open_repository
from lora_ci.cli import run as run_command
from lora_ci.cli.output import Output
from lora_ci.core.errors import ExitCode, UsageError
from lora_ci.core.finding import Finding, Severity
from lora_ci.plan.tags import parse_tag
from lora_ci.signing.keys import make_key
from lora_ci.signing.signers import FILE_NAME, Signer, Signers, read_signers, render_signers
from lora_ci.steps.folder import write_whole

NEW_KEY = "new-key"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A tag to release, or a key to make."""
    parser.add_argument(
        "what",
        metavar=f"TAG | {NEW_KEY}",
        help="an existing git tag such as mei@v1.2.0: does the run of that tag; "
        f"`{NEW_KEY}`: makes a signing key and adds its public half to {FILE_NAME}",
    )
    parser.add_argument("--repo", type=Path, default=Path(), help="repository (default: here)")
    run_command.add_common_arguments(parser)
    key = parser.add_argument_group(f"options of {NEW_KEY}")
    key.add_argument("--key", type=Path, metavar="FILE", help="where the private key is written")
    key.add_argument("--name", help=f"whose key it is, as {FILE_NAME} shows it")


def run(args: argparse.Namespace, output: Output) -> int:
    """Releases, or makes a key."""
    if args.what == NEW_KEY:
        return new_key(args, output)
    if args.key or args.name:
        raise UsageError(f"--key and --name belong to `lora-ci deploy {NEW_KEY}`")
    return run_command.run(tag_event(args), output)


def tag_event(args: argparse.Namespace) -> argparse.Namespace:
    """The options of `lora-ci run --tag`. Raises UsageError: no release tag, or none in git."""
    tag = parse_tag(args.what)
    if tag is None:
        hint = f"expected such as mei@v1.2.0, or `{NEW_KEY}`"
        raise UsageError(f"`{args.what}` is no release tag", hint=hint)
    head = f"refs/tags/{args.what}"
    try:
        open_repository(args.repo).commit(head)
    except UsageError as error:
        hint = f"next: git tag {args.what}, or: git fetch --tags"
        raise UsageError(f"there is no git tag {args.what} here", hint=hint) from error
    parser = argparse.ArgumentParser()
    run_command.add_arguments(parser)
    event = parser.parse_args(["--tag", args.what, "--head", head])
    return argparse.Namespace(**vars(event) | vars(args))


def new_key(args: argparse.Namespace, output: Output) -> int:
    """Makes the key pair: one half is a secret of yours, the other is committed."""
    if not args.key or not args.name:
        hint = f"next: lora-ci deploy {NEW_KEY} --key FILE --name NAME"
        raise UsageError("a key needs a file and a name", hint=hint)
    root = open_repository(args.repo).root
    path = root / FILE_NAME
    signers = read_signers(path) if path.exists() else Signers(signers=())
    signer = Signer(name=args.name, key=make_key(args.key).public_key())
    write_whole(path, render_signers(signers.adding(signer)))
    if args.key.resolve().is_relative_to(root.resolve()):
        output.findings((_in_repository(args.key),))
    text = [
        f"key {signer.id}",
        f"  {args.key}: the private half; whoever has it can release in your name",
        f"  {path}: the public half, added as {args.name}",
        f"next: git add {FILE_NAME} && git commit, and set LORA_CI_SIGNING_KEY to the private half",
    ]
    value = {"key_id": signer.id, "key": str(args.key), "name": args.name, "signers": str(path)}
    output.result("\n".join(text), value, schema="new-key")
    return ExitCode.PASSED


def _in_repository(key: Path) -> Finding:
    return Finding(
        rule="signing.key-in-repository",
        severity=Severity.WARNING,
        message=f"{key} lies in the repository",
        hint="move it out before the next commit",
    )
