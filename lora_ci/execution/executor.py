"""A place that can run step folders."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from lora_ci.core.errors import InfrastructureError
from lora_ci.core.step import Stage, StepSpec
from lora_ci.steps.folder import StepFolder

# Shows a person how far a step is: LoRA, stage, done, total, note.
Watch = Callable[[str, Stage, int, int, str], None]


class ExecutorAwayError(InfrastructureError):
    """The executor does not answer now; the same call may be made again."""

    rule = "executor.away"


# The executors whose attempts are of one machine: in its process, or in processes of their own.
INLINE, LOCAL = "inline", "local"


class Phase(StrEnum):
    """How far an attempt is, as its executor knows. Of the result it knows nothing."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an attempt is to run. What is empty is left to the executor.

    `gpus` are UUIDs: CUDA and the driver count GPUs in different orders, and a MIG slice has no
    number.
    """

    node: str = ""
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One execution of the step whose spec is in the folder.

    `key` names it everywhere: letters, digits and `-`, at most 64.
    """

    key: str
    folder: StepFolder
    spec: StepSpec
    place: Place = Place()


class Executor(Protocol):
    """Starts attempts, says whether they go on, ends them. A handle is text that outlives us.

    The folder is on a disk that both sides see. An attempt prints to the folder's log, and gets of
    the environment what `execution.environment` lets through.
    """

    @property
    def name(self) -> str:
        """What the ledger calls it: only an executor of this name is asked about its handles."""
        ...

    @property
    def lag_s(self) -> float:
        """How long after an attempt's end its result may still be on the way."""
        ...

    def submit(self, attempt: Attempt) -> str:
        """Starts the attempt and returns its handle; one of this key that was started stays alone.

        Raises:
            ExecutorAwayError: it may have been started; the same call tells.
            LoraCIError, OSError: it could not be started, and will not start later.
            Interrupted: it ran here, and a signal to us has ended it.
        """
        ...

    def phases(self, handles: Collection[str]) -> Mapping[str, Phase]:
        """How far attempts are. What is not known any more has ended.

        Raises InfrastructureError where nothing can be known now.
        """
        ...

    def cancel(self, handle: str, *, hard: bool) -> None:
        """Asks an attempt to save and end, or ends it with all it started; does not wait for it.

        One that has ended is left alone. Raises InfrastructureError where nobody could be asked.
        """
        ...

    def clear(self, handle: str) -> None:
        """Removes what an ended attempt left running, and what the executor keeps of it."""
        ...


def step_folder(state: Path, fingerprint: str) -> StepFolder:
    """The folder of a fingerprint: every attempt at the same work finds the same checkpoints."""
    return StepFolder(state / "steps" / fingerprint[:32])
