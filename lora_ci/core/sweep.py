"""What came of the configurations of a matrix: their standing, the best, and the change to make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lora_ci.core.step import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One configuration: `lora` is its name, `values` are by the path of the key.

    `score` is the metric, None where it could not be measured; `low` and `high` bound it at 95 %.
    `outcome` is the verdict that the score comes with, None where there is none yet. `images_seen`
    is what the training alone takes, whatever it shared; `took_s` what its own steps took.
    """

    lora: str
    values: Mapping[str, Any]
    score: float | None = None
    low: float | None = None
    high: float | None = None
    outcome: Outcome | None = None
    images_seen: float | None = None
    took_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """Lines `first_line` to `last_line` (from 1) of a file become `lines`; `diff` shows it."""

    path: str
    first_line: int
    last_line: int
    lines: tuple[str, ...]
    diff: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """The matrix of a LoRA: standings best first, the best (None: none was measured) and why.

    `suggestion` puts the values of the best in place of the matrix; where there is none,
    `unsuggested` says why. `early` is true where most were stopped early.
    """

    of: str
    metric: str
    lower_is_better: bool
    standings: tuple[Standing, ...]
    best: str | None
    why: str
    suggestion: Suggestion | None = None
    unsuggested: str | None = None
    early: bool = False

    @property
    def axes(self) -> tuple[str, ...]:
        """The keys that the matrix varies."""
        return tuple(self.standings[0].values) if self.standings else ()

    @property
    def passed(self) -> bool:
        """True if the best is one that passed."""
        return any(s.lora == self.best and s.outcome is Outcome.PASSED for s in self.standings)
