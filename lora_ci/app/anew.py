"""Work that a person wants to see done again, although there is a record of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from datetime import datetime

from lora_ci.core.plan import Action, Decision, Plan, Record
from lora_ci.core.shard import is_among
from lora_ci.core.step import Stage, StepSpec
from lora_ci.plan.records import Records
from lora_ci.steps.folder import StepFolder

# What a training's spec calls the trainings that it goes on from.
PREFIX = "prefix"
STAGES = (Stage.TRAIN, Stage.QA, Stage.OPTIMIZE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anew:
    """The LoRAs to be trained and judged again (None: all), and when that was asked for.

    What was made since then counts: asked once and killed twice, it is done once.
    """

    loras: frozenset[str] | None
    since: datetime

    def hides(self, record: Record) -> bool:
        """True for a record that was asked to be made again."""
        at = datetime.fromisoformat(record.finished_at)
        return self._means(record.lora, record.stage) and at < self.since

    def covers(self, decision: Decision) -> bool:
        """True for a stage that was asked to be made again."""
        return self._means(decision.lora, decision.stage)

    def _means(self, lora: str, stage: Stage) -> bool:
        return stage in STAGES and (self.loras is None or is_among(lora, self.loras))

    def clear(self, folder: StepFolder) -> None:
        """Drops a result from before; what an attempt since then has left stays."""
        try:
            made_at = (folder.path / "result.json").stat().st_mtime
        except FileNotFoundError:
            return
        if made_at < self.since.timestamp():
            shutil.rmtree(folder.workdir, ignore_errors=True)
            folder.drop_result()

    def from_the_start(self, spec: StepSpec) -> StepSpec:
        """The spec without what a training goes on from: at its own end no step would be left."""
        params = {name: value for name, value in spec.params.items() if name != PREFIX}
        return replace(spec, params=params)

    def explain(self, plan: Plan) -> Plan:
        """The plan that says of these stages why they run."""
        return replace(
            plan,
            decisions=tuple(
                replace(d, why="asked to be made again")
                if self.covers(d) and d.action is Action.RUN
                else d
                for d in plan.decisions
            ),
        )


@dataclass(frozen=True, slots=True)
class AnewRecords:
    """Records without those that are to be made again. Implements `plan.records.Records`."""

    records: Records
    anew: Anew

    def find(self, fingerprint: str) -> Record | None:
        record = self.records.find(fingerprint)
        return None if record and self.anew.hides(record) else record

    def passed(self, lora: str | None, stage: Stage) -> tuple[Record, ...]:
        return tuple(r for r in self.records.passed(lora, stage) if not self.anew.hides(r))

    def finished_since(self, moment: str) -> tuple[Record, ...]:
        return self.records.finished_since(moment)
