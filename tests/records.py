"""Records in memory, as the planner reads them, and a way to do what a plan says in no time."""

from dataclasses import dataclass, field

from lora_ci.core.artifact import Artifact
from lora_ci.core.digest import sha256_json
from lora_ci.core.plan import Plan, Record
from lora_ci.core.step import Outcome, Stage, StepResult


@dataclass
class DictRecords:
    """Records in memory, newest last; `took_s` is what each step is said to have taken."""

    items: list[Record] = field(default_factory=list)
    took_s: float = 0.0

    def find(self, fingerprint: str) -> Record | None:
        return next((r for r in self.items if r.fingerprint == fingerprint), None)

    def passed(self, lora: str | None, stage: Stage) -> tuple[Record, ...]:
        mine = [r for r in self.items if r.stage is stage and lora in (None, r.lora)]
        return tuple(r for r in reversed(mine) if r.result.outcome is Outcome.PASSED)

    def finished_since(self, moment: str) -> tuple[Record, ...]:
        return tuple(r for r in self.items if r.finished_at >= moment)

    def run(self, plan: Plan, outcome: Outcome = Outcome.PASSED) -> None:
        """Does what the plan says."""
        for decision in plan.to_run():
            assert decision.fingerprint
            made = sha256_json(decision.fingerprint.parts)
            artifact = Artifact(
                name="adapter.safetensors", sha256=made, size_bytes=1, media_type="x/y"
            )
            result = StepResult(
                outcome=outcome,
                artifacts=(artifact,),
                timings_s={"total": self.took_s} if self.took_s else {},
            )
            self.items.append(
                Record(
                    fingerprint=decision.fingerprint.value,
                    stage=decision.stage,
                    lora=decision.lora,
                    parts=dict(decision.fingerprint.parts),
                    result=result,
                    run_id=f"run-{len(self.items)}",
                    commit="3f2a1c9" + "0" * 33,
                    finished_at=f"2026-{len(self.items):09d}",
                )
            )
