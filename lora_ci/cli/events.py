"""The options that say what happened: which commit, compared with which, on whose behalf."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace
from pathlib import Path

from lora_ci.app.git_source import GitSource, open_git_source
from lora_ci.changes.git import Repository
from lora_ci.changes.range import default_branch, find_range
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
    event = (
        make_event(args, source.repo) if said is None else announced_event(said, args, source.repo)
    )
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


def make_event(args: argparse.Namespace, repo: Repository) -> Event:
    """The event of the single options."""
    head = repo.commit(args.tag if args.tag and args.head == "HEAD" else args.head)
    kind = EventKind.MANUAL
    if args.pull_request:
        kind = EventKind.PULL_REQUEST
    if args.tag:
        kind = EventKind.TAG
    found = find_range(
        repo,
        head=head,
        kind=kind,
        base=args.base,
        default_branch=args.default_branch or default_branch(repo),
    )
    return Event(
        kind=kind,
        repo=repo.root.name,
        head=head,
        base=found.base,
        range_why=found.why,
        number=args.pull_request,
        tag=args.tag,
    )


def announced_event(said: Announced, args: argparse.Namespace, repo: Repository) -> Event:
    """The event of a payload; what it does not say comes from the options."""
    head = repo.commit(said.head or args.head)
    found = find_range(
        repo,
        head=head,
        kind=said.kind,
        before=said.before,
        base=said.base,
        default_branch=said.default_branch or default_branch(repo),
    )
    return Event(
        kind=said.kind,
        repo=said.repo,
        head=head,
        base=found.base,
        range_why=found.why,
        ref=said.ref,
        actor=said.actor,
        trust=said.trust,
        number=said.number,
        tag=said.tag,
        message=f"{said.message}\n{repo.message(head)}",
    )
