"""The options that say what happened: which commit, compared with which, on whose behalf."""

from __future__ import annotations

import argparse
from pathlib import Path

from lora_ci.changes.git import Repository
from lora_ci.core.event import Event, EventKind, Trust


def add_event_arguments(parser: argparse.ArgumentParser) -> None:
    """Commit, base and pull request."""
    parser.add_argument("--repo", type=Path, default=Path(), help="repository (default: here)")
    parser.add_argument("--head", default="HEAD", help="commit to look at (default: HEAD)")
    parser.add_argument("--base", help="commit to compare with (default: the parent of the head)")
    parser.add_argument("--pull-request", type=int, metavar="N", help="on behalf of this one")
    parser.add_argument("--tag", help="on behalf of a release tag, such as mei@v1.0.0")
    parser.add_argument(
        "--untrusted", action="store_true", help="a foreign push: validate only, train nothing"
    )


def make_event(args: argparse.Namespace, repo: Repository) -> Event:
    """The event of the options. A pull request is compared with where it left its base."""
    head = repo.commit(args.tag if args.tag and args.head == "HEAD" else args.head)
    base = repo.commit(args.base) if args.base else repo.parent(head)
    kind = EventKind.MANUAL
    if args.pull_request:
        kind = EventKind.PULL_REQUEST
        base = (base and repo.merge_base(base, head)) or base
    if args.tag:
        kind = EventKind.TAG
    return Event(
        kind=kind,
        repo=repo.root.name,
        head=head,
        base=base,
        number=args.pull_request,
        tag=args.tag,
        trust=Trust.UNTRUSTED if args.untrusted else Trust.TRUSTED,
    )
