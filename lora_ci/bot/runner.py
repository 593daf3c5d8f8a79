"""What runs a job: the worker's view of a process."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from lora_ci.app.commands import Run
from lora_ci.ledger.jobs import Job


class Ending(StrEnum):
    """What a process left.

    `done`: a result. `stopped`: one that a signal cut off. `lost`: none, it died. `blocked`: none,
    the host or the machine did not let it begin. `unshown`: one that people could not be shown.
    """

    DONE = "done"
    STOPPED = "stopped"
    LOST = "lost"
    BLOCKED = "blocked"
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
