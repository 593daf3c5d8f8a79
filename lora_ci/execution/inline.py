"""Runs steps in this very process, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lora_ci.core.step import StepSpec
from lora_ci.steps.folder import StepFolder
from lora_ci.steps.main import exec_step
from lora_ci.steps.table import TABLE, Table
from lora_ci.store.store import ArtifactStore

Watch = Callable[[StepSpec, int, int, str], None]


@dataclass(frozen=True, slots=True)
class InlineExecutor:
    """`submit` returns when the step has ended."""

    store: ArtifactStore
    cache: Path
    watch: Watch | None = None
    table: Table = field(default_factory=lambda: TABLE)

    def submit(self, folder: StepFolder, spec: StepSpec) -> str:
        watch = self.watch

        def tell(done: int, total: int, note: str) -> None:
            if watch:
                watch(spec, done, total, note)

        exec_step(folder, self.store, self.cache, watch=tell, table=self.table)
        return "inline"

    def running(self, folder: StepFolder, handle: str) -> bool:
        return False

    def cancel(self, folder: StepFolder, handle: str) -> None:
        """A step of this process ends with a signal to it; there is nothing else to stop."""
