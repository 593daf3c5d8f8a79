"""A plan to its end, as if every step that runs passed: nothing is run and nothing is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from lora_ci.core.artifact import Artifact
from lora_ci.core.plan import Decision, Plan, Record
from lora_ci.core.step import Outcome, Stage, StepResult
from lora_ci.plan.decide import ADAPTER
from lora_ci.plan.records import Records

RUN_ID = "simulated"
# Far behind every real one, so that it counts as the newest.
LATER = "9999"


@dataclass(slots=True)
class Imagined:
    """Real records, and those of steps that were only imagined. Implements `Records`."""

    real: Records
    made: list[Record] = field(default_factory=list)

    def find(self, fingerprint: str) -> Record | None:
        mine = (r for r in self.made if r.fingerprint == fingerprint)
        return self.real.find(fingerprint) or next(mine, None)

    def passed(self, lora: str | None, stage: Stage) -> tuple[Record, ...]:
        mine = [r for r in reversed(self.made) if r.stage == stage and lora in (None, r.lora)]
        return (*mine, *self.real.passed(lora, stage))

    def finished_since(self, moment: str) -> tuple[Record, ...]:
        return self.real.finished_since(moment)

    def add(self, decision: Decision, commit: str) -> None:
        """Imagines that the step of a decision passed."""
        if decision.fingerprint is None:
            return
        # Equal fingerprints give equal bytes, so its own digest can stand for the adapter's.
        adapter = Artifact(
            name=ADAPTER,
            sha256=decision.fingerprint.value,
            size_bytes=0,
            media_type="application/octet-stream",
        )
        self.made.append(
            Record(
                fingerprint=decision.fingerprint.value,
                stage=decision.stage,
                lora=decision.lora,
                parts=dict(decision.fingerprint.parts),
                result=StepResult(outcome=Outcome.PASSED, artifacts=(adapter,)),
                run_id=RUN_ID,
                commit=commit,
                finished_at=f"{LATER}-{len(self.made):09d}",
            )
        )


def imagine(plan_with: Callable[[Records], Plan], records: Imagined) -> Plan:
    """The plan with each stage as it will be decided in the end: what will run, and why.

    Bounded: every round adds a record to a stage that had none.
    """
    first = plan_with(records)
    ran: dict[tuple[str, Stage], Decision] = {}
    plan = first
    while new := [d for d in plan.to_run() if (d.lora, d.stage) not in ran]:
        for decision in new:
            ran[decision.lora, decision.stage] = decision
            records.add(decision, first.head)
        plan = plan_with(records)
    decisions = tuple(ran.get((d.lora, d.stage), d) for d in plan.decisions)
    return replace(first, decisions=decisions)
