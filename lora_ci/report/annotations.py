"""Findings → what a git host shows beside the lines of a change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from lora_ci.core.finding import Finding, Severity
from lora_ci.core.text import clean
from lora_ci.report.findings import by_severity

Level = Literal["failure", "warning", "notice"]
LEVELS: dict[Severity, Level] = {
    Severity.ERROR: "failure",
    Severity.WARNING: "warning",
    Severity.INFO: "notice",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """A message at a line of a file; plain text."""

    file: str
    line: int
    level: Level
    title: str
    message: str


def to_annotations(findings: Iterable[Finding]) -> tuple[Annotation, ...]:
    """The findings that name a file, errors first; one about a whole file stands at line 1."""
    return tuple(
        Annotation(
            file=clean(finding.file),
            line=finding.line or 1,
            level=LEVELS[finding.severity],
            title=clean(finding.rule),
            message=clean(finding.message) + (f"\n→ {clean(finding.hint)}" if finding.hint else ""),
        )
        for finding in by_severity(findings)
        if finding.file
    )
