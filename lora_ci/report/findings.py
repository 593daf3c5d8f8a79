"""Findings in the order people want them: errors first, the same fault told once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lora_ci.core.finding import Finding, Severity
from lora_ci.core.run import StepView


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that is wrong, and all the places where it is."""

    severity: Severity
    rule: str
    message: str
    hint: str | None
    places: tuple[str, ...]
    count: int


def findings_of(steps: Iterable[StepView]) -> list[Finding]:
    """All findings of some steps, errors first."""
    return by_severity(f for s in steps if s.result for f in s.result.findings)


def by_severity(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first, else in their order."""
    order = list(Severity)
    return sorted(findings, key=lambda f: order.index(f.severity))


def faults(findings: Sequence[Finding]) -> list[Fault]:
    """Findings that say the same of different places become one; errors first."""
    alike: dict[tuple[Severity, str, str, str | None], list[str]] = {}
    for f in by_severity(findings):
        alike.setdefault((f.severity, f.rule, f.message, f.hint), []).append(f.location())
    return [
        Fault(
            severity=severity,
            rule=rule,
            message=message,
            hint=hint,
            places=tuple(place for place in places if place),
            count=len(places),
        )
        for (severity, rule, message, hint), places in alike.items()
    ]
