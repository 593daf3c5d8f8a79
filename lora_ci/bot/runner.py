"""What runs a job: the worker's view of a process."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from lora_ci.app.commands import Run
from lora_ci.ledger.jobs import Job


class Ending(StrEnum):
    """What a process left: a result, one that a signal cut off, none that stands, or one that was
    not shown as it should.
    """

    DONE = "done"
    STOPPED = "stopped"
    LOST = "lost"
    UNSHOWN = "unshown"


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How a process ended: `note` is for people; `run_id` is known where a run came to its end."""

    ending: Ending
    note: str
    run_id: str | None = None


class Runner(Protocol):
    """Runs jobs so that they outlive this process. Calls raise LoraCIError or OSError."""

    def start(self, job: Job, wanted: Run) -> str:
        """Starts what is wanted, or (`job.run_id`) shows its result again; returns the handle."""
        ...

    def end(self, job: Job) -> End | None:
        """How the job ended; None while it goes on."""
        ...

    def stop(self, job: Job, *, hard: bool) -> None:
        """Asks the process to end, or ends it."""
        ...
