"""Where the inputs of a run come from: the flow works the same for a commit and for folders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lora_ci.changes.inputs import InputFacts
from lora_ci.config.model import Config
from lora_ci.config.reading import ReadFile
from lora_ci.core.changeset import ChangeSet
from lora_ci.core.event import Event
from lora_ci.plan.facts import LoraFacts
from lora_ci.plan.records import Compare


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """All that deciding needs."""

    config: Config
    facts: dict[str, LoraFacts]
    changes: ChangeSet
    compare: Compare


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A config, and a way to read the files that it was made of."""

    config: Config
    read: ReadFile


class Source(Protocol):
    """Reads a state of the inputs, and lays its files out where steps can use them."""

    @property
    def root(self) -> Path:
        """The folder that the paths of the config start from."""
        ...

    def gather(self, event: Event) -> Gathered:
        """The state at `event.head`, and what changed since `event.base`.

        Raises:
            UsageError: the config is not there, or cannot be used.
            InfrastructureError: a place to read from is not there; nothing can be said.
        """
        ...

    def written(self, event: Event) -> Written | None:
        """The event's own config as it is written; None where it has no commit of its own.

        Raises:
            UsageError: it is not there, or cannot be used.
        """
        ...

    def lay_out(self, facts: InputFacts, folder: Path) -> None:
        """Writes the files of an input below `folder`, those that are not missing.

        Raises:
            InputError: a file is not any more what it was when it was gathered.
        """
        ...
