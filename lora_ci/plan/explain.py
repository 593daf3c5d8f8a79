"""A decision against the nearest record: which part of the fingerprint differs."""

from __future__ import annotations

from dataclasses import dataclass

from lora_ci.core.plan import Action, Decision
from lora_ci.core.step import Stage
from lora_ci.plan.records import Records


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a fingerprint; None where one of the two has no such part (a default)."""

    name: str
    now: str | None
    then: str | None

    @property
    def same(self) -> bool:
        """True if it did not move."""
        return self.now == self.then


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A stage's decision, and its fingerprint beside that of the record that comes nearest.

    `parts` are empty where the fingerprint is not known yet.
    """

    stage: Stage
    action: Action
    why: str
    fingerprint: str | None
    nearest: str | None
    run_id: str | None
    parts: tuple[Part, ...]


def explain_decision(decision: Decision, records: Records) -> Explanation:
    """The decision with the passed record of its stage that differs in the fewest parts."""
    mine = decision.fingerprint
    past = [decision.record] if decision.record else records.passed(decision.lora, decision.stage)
    near = min(past, key=lambda r: len(mine.changed_parts(r.parts)), default=None) if mine else None
    then = near.parts if near else {}
    names = sorted({*mine.parts, *then}) if mine else []
    return Explanation(
        stage=decision.stage,
        action=decision.action,
        why=decision.why,
        fingerprint=mine.value if mine else None,
        nearest=near.fingerprint if near else None,
        run_id=near.run_id if near else None,
        parts=tuple(
            Part(name=n, now=mine.parts.get(n) if mine else None, then=then.get(n)) for n in names
        ),
    )
