"""The one shape for everything lora-ci tells a user, from YAML errors to QA."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding weighs: an `error` fails its step, the others do not."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One located problem and what to do about it.

    `rule` is a stable dotted id (`caption.trigger-missing`), `file` is relative to the repository,
    `line` and `column` count from 1, `hint` is the next thing to do or type.
    """

    rule: str
    severity: Severity
    message: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    hint: str | None = None

    def location(self) -> str:
        """`file:line:column`, as far as they are known, else an empty string."""
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part)
