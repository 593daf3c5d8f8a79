"""The options that say what happened: which commit, compared with which, on whose behalf."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from lora_ci.app.git_source import GitSource, open_git_source
from lora_ci.changes.range import find_range
from lora_ci.core.errors import UsageError
from lora_ci.core.event import Event, EventKind, Trust
from lora_ci.forge.payload import Announced, parse_payload


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
    """A number from 1."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def open_event(args: argparse.Namespace) -> tuple[Event, GitSource]:
    """The event of the options and where its commits are. Raises UsageError."""
    said = read_payload(args)
    branch = args.default_branch or (said.default_branch if said else None)
    source = open_git_source(args.repo, branch)
    event = make_event(args, source) if said is None else announced_event(said, args, source)
    event = replace(
        event,
        trust=Trust.UNTRUSTED if args.untrusted else event.trust,
        approved_by=(args.approved_by or "").strip() or None,
        passed_checks=tuple(args.passed_check),
    )
    return event, source


def read_payload(args: argparse.Namespace) -> Announced | None:
    """What the payload says, if one is given. Raises UsageError."""
    if args.event is None:
        return None
    try:
        data = args.event.read_bytes()
    except OSError as error:
        raise UsageError(f"{args.event}: {error.strerror}", hint="next: ls -l on it") from error
    return parse_payload(data, args.event_name, str(args.event))


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
    head = source.repo.commit(said.head or args.head)
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
