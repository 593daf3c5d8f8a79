"""Picks the implementations; the only place that knows them all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lora_ci.app.records import STATE, KeptRecords, ledger_url
from lora_ci.app.source import Source
from lora_ci.core.clock import Clock, SystemClock
from lora_ci.execution.executor import Executor, Watch
from lora_ci.execution.inline import InlineExecutor
from lora_ci.execution.process import ProcessExecutor
from lora_ci.forge.forge import Forge
from lora_ci.forge.local import LocalForge
from lora_ci.ledger.ledger import Ledger, open_ledger
from lora_ci.ledger.snapshot import Snapshot
from lora_ci.plan.records import Records
from lora_ci.store.local import LocalStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    """What the flow works with."""

    source: Source
    ledger: Ledger
    store: LocalStore
    executor: Executor
    forge: Forge
    clock: Clock
    state: Path
    watch: Watch
    signing_key: Path | None

    @property
    def records(self) -> Records:
        """What may be reused, as it is now."""
        return KeptRecords(Snapshot(self.ledger), self.store)


def open_deps(
    source: Source,
    *,
    state: Path | None = None,
    watch: Watch = lambda *_: None,
    executor: str = "inline",
    signing_key: Path | None = None,
) -> Deps:
    """Everything for a source; state lives in `.lora-ci/` at its root, unless said otherwise."""
    state = state or source.root / STATE
    state.mkdir(parents=True, exist_ok=True)
    ignore = state / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
    clock = SystemClock()
    store = LocalStore(state / "objects")
    return Deps(
        source=source,
        ledger=open_ledger(ledger_url(state), clock),
        store=store,
        executor=InlineExecutor(store, state / "cache", watch)
        if executor == "inline"
        else ProcessExecutor(state / "objects", state / "cache", clock),
        forge=LocalForge(state / "forge"),
        clock=clock,
        state=state,
        watch=watch,
        signing_key=signing_key,
    )
