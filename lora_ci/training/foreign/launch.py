"""How a trainer is started, and where its result is expected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

Value = bool | int | float | str | tuple["Value", ...] | Mapping[str, "Value"]
Options = dict[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A command line, the folder it runs in, and what it is known to write and print.

    `result` is the file of the finished adapter, or a folder: then the newest adapter in it.
    `bar` begins the progress bar that counts steps. `resumed_from` is the state that a killed
    attempt left and this one goes on from.
    """

    command: tuple[str, ...]
    folder: Path
    result: Path
    bar: str | None = None
    resumed_from: Path | None = None
