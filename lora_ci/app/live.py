"""Shows a run while it goes on. A slow or broken git host holds up no step and fails nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from lora_ci.core.clock import Clock
from lora_ci.core.run import RunView
from lora_ci.core.step import Progress, Stage
from lora_ci.execution.executor import Watch

# A comment that changes more often helps nobody, and each change is a request to the host.
EVERY_S = 20.0
# Longer than the host's client tries; then the last word is said without waiting for this one.
LAST_WAIT_S = 150.0


@dataclass(slots=True)
class Live:
    """Passes on how far steps are, and keeps the newest of each. Is itself a `Watch`."""

    watch: Watch
    progress: dict[tuple[str, Stage], Progress] = field(default_factory=dict)
    moved: Callable[[], None] = lambda: None

    def __call__(self, lora: str, stage: Stage, done: int, total: int, note: str) -> None:
        self.watch(lora, stage, done, total, note)
        self.progress[lora, stage] = Progress(done, total, note)
        self.moved()


@dataclass(slots=True)
class Announcer:
    """Shows views from a thread of its own, one at a time, at most every `EVERY_S` seconds."""

    show: Callable[[RunView], object]
    clock: Clock
    _shown_at: float | None = None
    _thread: threading.Thread | None = None

    def offer(self, view: Callable[[], RunView]) -> None:
        """Makes a view and shows it, unless the last was just shown or still is on its way."""
        now = self.clock.monotonic()
        if self._shown_at is not None and now - self._shown_at < EVERY_S:
            return
        if self._thread and self._thread.is_alive():
            return
        self._shown_at = now
        self._thread = threading.Thread(target=self._show, args=(view,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Returns when nothing is on its way any more, so that the last word is the last."""
        if self._thread:
            self._thread.join(LAST_WAIT_S)

    def _show(self, view: Callable[[], RunView]) -> None:
        try:
            self.show(view())
        except Exception:  # noqa: BLE001 - a border: what cannot be shown now is shown at the end
            return
