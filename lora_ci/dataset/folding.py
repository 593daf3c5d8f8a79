"""Findings of one rule, as many as a person reads; of the others their number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from lora_ci.core.finding import Finding, Severity

# Twice what a git host shows beside the lines of one commit; one cause may hit 50,000 files.
MOST_OF_A_RULE = 100


class Folding:
    """Takes findings one by one; keeps the first of each rule and counts all."""

    def __init__(self) -> None:
        self._kept: list[Finding] = []
        self._seen: Counter[tuple[str, Severity]] = Counter()

    def add(self, finding: Finding) -> None:
        """Keeps the finding, or counts it where enough of its rule are kept."""
        key = (finding.rule, finding.severity)
        self._seen[key] += 1
        if self._seen[key] <= MOST_OF_A_RULE:
            self._kept.append(finding)

    def extend(self, findings: Iterable[Finding]) -> None:
        """Adds each."""
        for finding in findings:
            self.add(finding)

    @property
    def counts(self) -> Counter[Severity]:
        """How many findings of each severity there were, those left out too."""
        counts: Counter[Severity] = Counter()
        for (_, severity), times in self._seen.items():
            counts[severity] += times
        return counts

    @property
    def rules(self) -> Counter[str]:
        """How many findings of each rule there were, those left out too."""
        counts: Counter[str] = Counter()
        for (rule, _), times in self._seen.items():
            counts[rule] += times
        return counts

    def folded(self) -> tuple[Finding, ...]:
        """The kept ones in order, then one for each rule that had more: `and 312 more`."""
        more = [
            Finding(
                rule=rule,
                severity=severity,
                message=f"and {times - MOST_OF_A_RULE:,} more; the first {MOST_OF_A_RULE} are told",
            )
            for (rule, severity), times in self._seen.items()
            if times > MOST_OF_A_RULE
        ]
        return (*self._kept, *more)
