"""The options that say where results are kept, and what the flow works with then."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import msgspec

from lora_ci.app.commands import Run
from lora_ci.app.git_source import GitSource
from lora_ci.app.records import STATE, open_store, read_records
from lora_ci.cli.hub import Hub
from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import UsageError
from lora_ci.core.finding import Finding
from lora_ci.execution.executor import Watch
from lora_ci.plan.records import Records
from lora_ci.store.layered import Remote
from lora_ci.store.store import ArtifactStore

if TYPE_CHECKING:
    from lora_ci.app.wiring import Deps, Share
    from lora_ci.ledger.git_records import GitRecords

ACTIONS = "actions"


def add_place_arguments(parser: argparse.ArgumentParser) -> None:
    """Where records and artifacts are kept."""
    group = parser.add_argument_group("where results are kept")
    group.add_argument(
        "--ledger-url",
        default=os.environ.get("LORA_CI_LEDGER_URL") or None,
        metavar="URL",
        help="database of this repository's runs (default: LORA_CI_LEDGER_URL, else a file below "
        ".lora-ci/)",
    )
    group.add_argument(
        "--ledger-repo",
        default=os.environ.get("LORA_CI_LEDGER_REPO") or None,
        metavar="OWNER/NAME",
        help="use the records of this repository only, where a database has those of several "
        "(default: LORA_CI_LEDGER_REPO)",
    )
    group.add_argument(
        "--store",
        type=Path,
        default=os.environ.get("LORA_CI_STORE") or None,
        metavar="FOLDER",
        help="folder of the artifacts, such as one that all machines share (default: "
        "LORA_CI_STORE, else below .lora-ci/)",
    )
    group.add_argument(
        "--cache",
        type=Path,
        default=os.environ.get("LORA_CI_CACHE") or None,
        metavar="FOLDER",
        help="folder of what can be made anew, such as encoded pictures (default: LORA_CI_CACHE, "
        "else below .lora-ci/)",
    )
    group.add_argument(
        "--records",
        metavar="REMOTE",
        help="also read and publish records on refs/lora-ci/records of a git remote: origin",
    )


def open_wired(args: argparse.Namespace, source: GitSource, hub: Hub, watch: Watch) -> Deps:
    """What the flow works with, as the options say."""
    from lora_ci.app.wiring import Bundle, Places, open_deps  # loads SQLAlchemy; plans need none

    if args.executor == ACTIONS and hub.jobs and not args.records:
        # Jobs know of each other's work by them.
        args = argparse.Namespace(**vars(args) | {"records": "origin"})
    shared = shared_records(args, source)
    key = os.environ.get("LORA_CI_SIGNING_KEY")
    remotes = remotes_of(hub, shared)
    deps = open_deps(
        source,
        places=Places(
            ledger=args.ledger_url,
            repo=args.ledger_repo,
            objects=args.store,
            cache=args.cache,
            remotes=remotes,
        ),
        watch=watch,
        executor="local" if args.executor == ACTIONS else args.executor,
        named=tuple(args.pass_env),
        room=args.parallel,
        quota=args.quota,
        forge=hub.forge,
        signing_key=Path(key).resolve() if key else None,
    )
    return replace(
        deps,
        shared=(shared,) if shared else (),
        share=sharing(args, source),
        bundle=Bundle(args.bundle, args.bundle_name) if args.bundle else None,
        buttons=args.buttons,
        host=hub.host,
    )


def with_jobs(deps: Deps, hub: Hub, asked: Run) -> Deps:
    """The same, with the steps that need a GPU as jobs of the repository's workflow.

    Raises UsageError where no repository is known.
    """
    from lora_ci.forge.github.action_executor import ActionsExecutor

    if hub.jobs is None or deps.share is None:
        message = "`--executor actions` runs jobs of a repository on GitHub, and none is named"
        raise UsageError(message, hint="next: --forge github")
    jobs, share = hub.jobs(), deps.share
    return replace(
        deps,
        executor=ActionsExecutor(
            client=jobs.client,
            repo=jobs.repo,
            asked=msgspec.json.encode(asked).decode(),
            state=deps.state,
            store=deps.store,
            here=deps.executor,
            publish=lambda records, name: share(records, kept_in=name),
            clock=deps.clock,
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What may be reused. `shared` are the records among it that others published."""

    records: Records
    store: ArtifactStore
    shared: GitRecords | None

    def findings(self) -> tuple[Finding, ...]:
        """What of the published records is left out."""
        return self.shared.findings() if self.shared else ()


def open_past(args: argparse.Namespace, source: GitSource, hub: Hub) -> Past:
    """The past, for a plan: it makes nothing that is not there."""
    state, shared = source.root / STATE, shared_records(args, source)
    store = open_store(args.store or state / "objects", remotes_of(hub, shared))
    others = (shared,) if shared else ()
    records = read_records(
        state, store, ledger=args.ledger_url, repo=args.ledger_repo, shared=others
    )
    return Past(records=records, store=store, shared=shared)


def shared_records(args: argparse.Namespace, source: GitSource) -> GitRecords | None:
    """The records on the git ref, as they are at the remote now."""
    if not args.records:
        return None
    from lora_ci.ledger.git_records import GitRecords
    from lora_ci.ledger.remote_records import fetch_records

    commit = fetch_records(source.repo, args.records, clock=SystemClock(), rng=Random())
    return GitRecords(source.repo, commit)


def remotes_of(hub: Hub, shared: GitRecords | None) -> tuple[Remote, ...]:
    """Where the artifacts of shared records come from."""
    return (hub.artifacts(shared.kept_in),) if hub.artifacts and shared else ()


def sharing(args: argparse.Namespace, source: GitSource) -> Share | None:
    """Publishes records on the git ref, if that is wanted."""
    if not args.records:
        return None
    from lora_ci.ledger.remote_records import publish_records

    return partial(publish_records, source.repo, args.records, clock=SystemClock(), rng=Random())
