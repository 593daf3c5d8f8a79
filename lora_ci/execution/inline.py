"""Runs steps in this very process, one after the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lora_ci.core.errors import Interrupted
from lora_ci.core.step import Outcome, StepSpec
from lora_ci.execution.executor import Watch
from lora_ci.steps.folder import StepFolder
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

    def submit(self, folder: StepFolder, spec: StepSpec) -> str:
        def tell(done: int, total: int, note: str) -> None:
            self.watch(spec.lora, spec.stage, done, total, note)

        result = exec_step(folder, self.store, self.cache, watch=tell, table=self.table)
        if result.outcome is Outcome.INTERRUPTED:
            raise Interrupted(f"{spec.stage} of {spec.lora} was stopped: the signal was for us")
        return "inline"

    def running(self, folder: StepFolder, handle: str) -> bool:
        return False

    def cancel(self, folder: StepFolder, handle: str) -> None:
        """A step of this process ends with a signal to it; there is nothing else to stop."""
