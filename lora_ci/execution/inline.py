"""Runs steps in this very process, one after the other."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lora_ci.core.errors import Interrupted
from lora_ci.core.step import Outcome
from lora_ci.execution.executor import Attempt, Phase, Watch
from lora_ci.steps.main import exec_step
from lora_ci.steps.table import TABLE, Table
from lora_ci.store.store import ArtifactStore


@dataclass(frozen=True, slots=True)
class InlineExecutor:
    """`submit` returns when the step has ended, or raises Interrupted."""

    store: ArtifactStore
    cache: Path
    watch: Watch = lambda *_: None
    table: Table = field(default_factory=lambda: TABLE)

    name = "inline"
    lag_s = 0.0

    def submit(self, attempt: Attempt) -> str:
        folder, spec = attempt.folder, attempt.spec

        def tell(done: int, total: int, note: str) -> None:
            self.watch(spec.lora, spec.stage, done, total, note)

        result = exec_step(folder, self.store, self.cache, watch=tell, table=self.table)
        if result.outcome is Outcome.INTERRUPTED:
            raise Interrupted(f"{spec.stage} of {spec.lora} was stopped: the signal was for us")
        return "inline"

    def phases(self, handles: Collection[str]) -> Mapping[str, Phase]:
        return dict.fromkeys(handles, Phase.ENDED)

    def cancel(self, handle: str, *, hard: bool) -> None:
        """A step of this process ends with a signal to it; there is nothing else to stop."""

    def clear(self, handle: str) -> None:
        """Nothing of it is left."""
