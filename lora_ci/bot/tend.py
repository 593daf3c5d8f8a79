"""The bot's thread: turns the worker, and tidies up every hour."""

from __future__ import annotations

import logging
import shutil
import threading
from dataclasses import dataclass, field

from lora_ci.bot.names import free_names
from lora_ci.bot.reconcile import ask_again
from lora_ci.bot.worker import Worker
from lora_ci.core.errors import LoraCIError

LOG = logging.getLogger("lora_ci.bot")

POLL_S = 0.5
TIDY_S = 3600.0
# A month of what was done is kept; what comes again comes within days.
KEPT_S = 30 * 24 * 3600.0
AFTER_TROUBLE_S = 5.0


@dataclass(slots=True)
class Tender:
    """`run` in a thread; `wake` tells that something came, `stop` that it is to end."""

    worker: Worker
    _woken: threading.Event = field(default_factory=threading.Event)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _tidied_at: float | None = None

    def wake(self) -> None:
        """Something came."""
        self._woken.set()

    def stop(self) -> None:
        """Ends `run` after the turn that it is in; what runs is interrupted."""
        self._stopped.set()
        self._woken.set()

    def run(self) -> None:
        """Turns until it is stopped; no trouble ends it."""
        while not self._stopped.is_set():
            try:
                self._woken.clear()
                self._tidy()
                if not self.worker.turn():
                    self._woken.wait(POLL_S)
            except LoraCIError as error:
                LOG.error("worker.trouble why=%s", error)
                self._stopped.wait(AFTER_TROUBLE_S)
            except Exception:  # the border: whatever is wrong with one turn, the next is made
                LOG.exception("worker.broken")
                self._stopped.wait(AFTER_TROUBLE_S)
        self.worker.close()

    def _tidy(self) -> None:
        """Asks for what was missed, and forgets what is long done."""
        worker, now = self.worker, self.worker.clock.monotonic()
        if self._tidied_at is not None and now - self._tidied_at < TIDY_S:
            return
        self._tidied_at = now
        ask_again(worker.access, worker.inbox, worker.jobs.repos(), worker.clock)
        worker.inbox.forget(older_than_s=KEPT_S)
        busy = {str(job.id) for job in worker.jobs.running()}
        before = worker.clock.now().timestamp() - KEPT_S
        for folder in (worker.state / "jobs").glob("*"):
            if folder.name not in busy and folder.stat().st_mtime < before:
                shutil.rmtree(folder, ignore_errors=True)
        free_names(worker.state, worker.jobs.running())
