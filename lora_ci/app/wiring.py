"""Picks the implementations; the only place that knows them all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lora_ci.changes.git import Repository, open_repository
from lora_ci.changes.objects import Objects, open_objects
from lora_ci.core.clock import Clock, SystemClock
from lora_ci.execution.executor import Executor
from lora_ci.execution.inline import InlineExecutor, Watch
from lora_ci.execution.process import ProcessExecutor
from lora_ci.forge.forge import Forge
from lora_ci.forge.local import LocalForge
from lora_ci.ledger.ledger import Ledger, open_ledger
from lora_ci.store.local import LocalStore

STATE = ".lora-ci"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    """What the flow works with."""

    repo: Repository
    objects: Objects
    ledger: Ledger
    store: LocalStore
    executor: Executor
    forge: Forge
    clock: Clock
    state: Path
    signing_key: Path | None


def open_deps(
    folder: Path,
    *,
    watch: Watch | None = None,
    executor: str = "inline",
    signing_key: Path | None = None,
) -> Deps:
    """Everything for the repository that holds `folder`; state lives in its `.lora-ci/`."""
    repo = open_repository(folder)
    state = repo.root / STATE
    state.mkdir(exist_ok=True)
    ignore = state / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
    clock = SystemClock()
    store = LocalStore(state / "objects")
    return Deps(
        repo=repo,
        objects=open_objects(repo.root),
        ledger=open_ledger(f"sqlite:///{state / 'ledger.db'}", clock),
        store=store,
        executor=InlineExecutor(store, state / "cache", watch)
        if executor == "inline"
        else ProcessExecutor(state / "objects", state / "cache", clock),
        forge=LocalForge(state / "forge"),
        clock=clock,
        state=state,
        signing_key=signing_key,
    )
