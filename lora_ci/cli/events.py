"""The options that say what happened: which commit, compared with which, on whose behalf."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

import msgspec

from lora_ci.app.commands import Cancel, Run, carry_out
from lora_ci.app.git_source import GitSource, open_git_source
from lora_ci.changes.range import fetched, find_range
from lora_ci.core.errors import LoraCIError, UsageError
from lora_ci.core.event import Event, EventKind, Trust
from lora_ci.core.step import Stage
from lora_ci.forge.forge import Host
from lora_ci.forge.intent import Ask, Ignored, interpret
from lora_ci.forge.payload import MAX_BYTES, Announced, parse_payload

# What people ask for by a comment or a button.
ASKING = ("issue_comment", "check_run", "check_suite")


def add_event_arguments(parser: argparse.ArgumentParser) -> None:
    """Commit, base and pull request; or the payload that says it all."""
    parser.add_argument("--repo", type=Path, default=Path(), help="repository (default: here)")
    parser.add_argument("--head", default="HEAD", help="commit to look at (default: HEAD)")
    parser.add_argument(
        "--base", help="commit to compare with (default: where the head left the default branch)"
    )
    parser.add_argument("--pull-request", type=positive, metavar="N", help="on behalf of this one")
    parser.add_argument("--tag", help="on behalf of a tag, such as mei@v1.0.0 or mei#prod")
    parser.add_argument(
        "--event", type=Path, metavar="FILE", help="payload of a GitHub event, instead of these"
    )
    parser.add_argument(
        "--event-name",
        default=os.environ.get("GITHUB_EVENT_NAME") or None,
        help="what GitHub calls the event (default: GITHUB_EVENT_NAME, else guessed)",
    )
    parser.add_argument(
        "--asked",
        type=Path,
        metavar="FILE",
        help="what `plan` made of the event (its output `asked`), instead of the event",
    )
    parser.add_argument(
        "--untrusted", action="store_true", help="a foreign push: validate only, train nothing"
    )
    parser.add_argument("--default-branch", metavar="NAME", help="(default: origin's)")
    parser.add_argument("--approved-by", metavar="WHO", help="who said that it may run")
    parser.add_argument(
        "--passed-check",
        action="append",
        default=[],
        metavar="NAME",
        help="a check of the head that has passed (`policy.required_checks`)",
    )


def positive(text: str) -> int:
    """A whole number from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from 1")
    return int(text)


def stage(text: str) -> Stage:
    """A stage by its name."""
    if text not in tuple(Stage):
        raise argparse.ArgumentTypeError(f"{text!r}: expected {', '.join(Stage)}")
    return Stage(text)


class Nothing(Exception):  # noqa: N818 - an answer, not a fault
    """Why the event asks for no run; whoever asked has been answered."""


def read_asked(args: argparse.Namespace, host: Host | None) -> Run | None:
    """What is asked for by the payload; None where the single options say it.

    A command is answered on the pull request. Raises UsageError, and Nothing.
    """
    if args.asked:
        return read_run(args.asked)
    if args.event is None:
        return None
    data = _read(args.event)
    if args.event_name not in ASKING:
        return Run(event=parse_payload(data, args.event_name, str(args.event)))
    intent = interpret(args.event_name, data, str(args.event))
    if isinstance(intent, Ignored):
        raise Nothing(intent.why)
    if not isinstance(intent, Ask):
        raise Nothing(f"nothing is done about `{args.event_name}` here")
    if host is None:
        hint = "next: --forge github"
        raise UsageError("commands are answered on the git host: it must be there", hint=hint)
    if intent.number is None:
        raise Nothing("the check names no pull request")
    wanted = carry_out(intent, intent.number, host)
    if wanted is None:
        raise Nothing("the command is answered; it asks for no run")
    if isinstance(wanted, Cancel):
        raise Nothing("what ran before is cancelled by the workflow's concurrency group")
    return wanted


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint="next: ls -l on it") from error


def read_run(path: Path) -> Run:
    """What a file says that `plan` or the bot left. Raises UsageError."""
    data = _read(path)
    if len(data) > MAX_BYTES:
        raise UsageError(f"{path}: {len(data)} bytes; expected at most {MAX_BYTES}")
    try:
        return msgspec.json.decode(data, type=Run)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        hint = "expected what `lora-ci plan --github-output` gives as `asked`"
        raise UsageError(f"{path}: {error}", hint=hint) from error


def open_event(
    args: argparse.Namespace, asked: Run | None, host: Host | None = None
) -> tuple[Event, GitSource]:
    """The event of the options and where its commits are. Raises UsageError."""
    said = asked.event if asked else None
    branch = args.default_branch or (said.default_branch if said else None)
    source = open_git_source(args.repo, branch)
    event = make_event(args, source) if said is None else announced_event(said, args, source)
    approved = (args.approved_by or "").strip()
    passed = (*args.passed_check, *_passed_checks(event.head, source, host))
    event = replace(
        event,
        trust=Trust.UNTRUSTED if args.untrusted else event.trust,
        approvals=(approved,) if approved else asked.approved_by if asked else (),
        passed_checks=passed,
    )
    return event, source


def _passed_checks(head: str, source: GitSource, host: Host | None) -> tuple[str, ...]:
    """What the host knows of the head, where it matters; what nobody can see has not passed."""
    try:
        return host.passed_checks(head) if host and source.may_require_checks(head) else ()
    except LoraCIError:
        return ()


def make_event(args: argparse.Namespace, source: GitSource) -> Event:
    """The event of the single options."""
    head = source.repo.commit(args.tag if args.tag and args.head == "HEAD" else args.head)
    kind = EventKind.MANUAL
    if args.pull_request:
        kind = EventKind.PULL_REQUEST
    if args.tag:
        kind = EventKind.TAG
    event = Event(
        kind=kind,
        repo=source.root.name,
        head=head,
        number=args.pull_request,
        tag=args.tag,
    )
    return compared(event, source, base=args.base)


def announced_event(said: Announced, args: argparse.Namespace, source: GitSource) -> Event:
    """The event of a payload; what it does not say comes from the options."""
    # The head of a fork is in no branch of origin: it is fetched by its id.
    head = fetched(source.repo, said.head) if said.head else source.repo.commit(args.head)
    event = Event(
        kind=said.kind,
        repo=said.repo,
        head=head,
        ref=said.ref,
        actor=said.actor,
        trust=said.trust,
        number=said.number,
        tag=said.tag,
        message=f"{said.message}\n{source.repo.message(head)}",
    )
    return compared(event, source, base=said.base, before=said.before, branch=said.default_branch)


def compared(
    event: Event,
    source: GitSource,
    *,
    base: str | None = None,
    before: str | None = None,
    branch: str | None = None,
) -> Event:
    """The event with the commit that its head is compared with, and why it is that."""
    found = find_range(
        source.repo,
        head=event.head,
        kind=event.kind,
        before=before,
        base=base,
        default_branch=branch or source.branch,
    )
    return replace(event, base=found.base, range_why=found.why)
