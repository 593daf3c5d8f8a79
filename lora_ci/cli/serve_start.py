"""What `lora-ci serve` needs before it starts: all that is missing is told at once."""

from __future__ import annotations

import argparse
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from lora_ci.core.errors import UsageError
from lora_ci.core.finding import Finding, Severity

SECRET_NAME = "LORA_CI_WEBHOOK_SECRET"  # noqa: S105 - a name
TOKEN_NAME = "LORA_CI_TOKEN"  # noqa: S105 - a name
MIN_SECRET = 16
ADDRESS = re.compile(r"https?://[^\s/?#]+(/[^\s?#]*)?")
OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
EVERYBODY = Finding(
    rule="serve.everybody",
    severity=Severity.WARNING,
    message="everybody who may install the App gets time on this machine",
    hint="next: --owner NAME serves this account alone",
)
PACKAGES = ("flask", "waitress", "github")


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What only the bot knows. Either `token` or `key` is there."""

    webhook: bytes = field(repr=False)
    token: str | None = field(repr=False)
    key: str | None = field(repr=False)


def check_start(args: argparse.Namespace) -> Secrets:
    """The secrets; makes the state folder. Raises UsageError."""
    webhook = _secret(args.secret_file, SECRET_NAME)
    key = _secret(args.key_file, "")
    token = None if args.app_id or args.key_file else _secret(args.token_file, TOKEN_NAME)
    findings = (
        *_webhook_faults(webhook, args.secret_file),
        *_identity_faults(args, token, key),
        *_option_faults(args),
        *_machine_faults(args.state),
    )
    if findings or webhook is None:
        raise UsageError("; ".join(f.message for f in findings), findings=findings)
    return Secrets(webhook=webhook.encode(), token=token, key=key)


def _secret(file: Path | None, name: str) -> str | None:
    """What stands in a file, or in the environment where no file is named; None: nothing."""
    try:
        found = file.read_text() if file else os.environ.get(name, "")
    except (OSError, UnicodeDecodeError):
        return None
    return found.strip() or None


def _webhook_faults(secret: str | None, file: Path | None) -> Iterator[Finding]:
    if secret is None and file:
        yield _fault(f"--secret-file {file} is empty or cannot be read", f"next: ls -l {file}")
    elif secret is None or len(secret) < MIN_SECRET:
        message = f"the webhook's secret has {len(secret or '')} characters; at least {MIN_SECRET}"
        hint = f"next: openssl rand -hex 32 > secret; then --secret-file secret, or {SECRET_NAME}"
        yield _fault(message, hint)


def _identity_faults(
    args: argparse.Namespace, token: str | None, key: str | None
) -> Iterator[Finding]:
    if args.app_id or args.key_file:
        if args.token_file:
            yield _fault("it is either an App or a token", "next: leave --token-file out")
        if not (args.app_id and args.key_file):
            yield _fault("an App needs its id and its key", "next: --app-id ID --key-file FILE.pem")
        elif key is None:
            message = f"--key-file {args.key_file} is empty or cannot be read"
            yield _fault(message, f"next: ls -l {args.key_file}")
    elif token is None:
        hint = f"next: --app-id ID --key-file FILE.pem; or --token-file FILE, or {TOKEN_NAME}"
        yield _fault("there is neither an App nor a token", hint)


def _option_faults(args: argparse.Namespace) -> Iterator[Finding]:
    if args.url and not ADDRESS.fullmatch(args.url):
        yield _fault(f"--url {args.url!r} is no address", "next: --url https://ci.example.org")
    for name, value in (("--parallel", args.parallel), ("--queue", args.queue)):
        if value < 1:
            yield _fault(f"{name} {value}: at least 1", f"next: {name} 1")
    for owner in args.owner:
        if not OWNER.fullmatch(owner):
            message = f"--owner {owner!r} is no name of an account"
            yield _fault(message, "next: --owner acme, without a repository")
    if not 0 <= args.port < 65536:
        yield _fault(f"--port {args.port} is no port", "next: --port 8080")


def _machine_faults(state: Path) -> Iterator[Finding]:
    absent = [name for name in PACKAGES if find_spec(name) is None]
    if absent:
        yield _fault(f"not installed: {', '.join(absent)}", "next: pip install 'lora-ci[serve]'")
    if shutil.which("git") is None:
        yield _fault("git is not installed", "next: apt install git")
    try:
        state.mkdir(parents=True, exist_ok=True)
        (state / ".gitignore").write_text("*\n")
    except OSError as error:
        yield _fault(f"--state {state}: {error.strerror}", f"next: ls -ld {state}")


def _fault(message: str, hint: str) -> Finding:
    return Finding(rule="serve.start", severity=Severity.ERROR, message=message, hint=hint)
