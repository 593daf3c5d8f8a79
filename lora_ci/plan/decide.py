"""The decision: for each stage of each LoRA reuse, run, wait or blocked, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lora_ci.config.model import Config, Lora
from lora_ci.core.changeset import ChangeSet, DatasetChange
from lora_ci.core.event import Event, EventKind, Trust
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.fingerprint import Fingerprint
from lora_ci.core.plan import Action, Decision, Plan, Record
from lora_ci.core.step import Outcome, Stage
from lora_ci.plan.facts import LoraFacts
from lora_ci.plan.fingerprints import (
    deploy_fingerprint,
    optimize_fingerprint,
    qa_fingerprint,
    train_fingerprint,
    validate_fingerprint,
)
from lora_ci.plan.records import Records
from lora_ci.plan.tags import ReleaseTag, parse_tag

ADAPTER = "adapter.safetensors"


def decide(
    config: Config,
    facts: Mapping[str, LoraFacts],
    records: Records,
    *,
    changes: ChangeSet,
    event: Event,
) -> Plan:
    """The plan for a commit. The fingerprints decide; `changes` only explains."""
    tag = parse_tag(event.tag) if event.kind is EventKind.TAG and event.tag else None
    findings = list(changes.findings)
    if event.kind is EventKind.TAG and (tag is None or tag.lora not in config.loras):
        findings.append(_unknown_tag(event.tag or "", config))
    decisions: list[Decision] = []
    for name, lora in config.loras.items():
        findings.extend(facts[name].findings)
        if event.kind is EventKind.TAG and (tag is None or tag.lora != name):
            continue
        decisions.extend(_Chain(lora, facts[name], records, changes, event, tag).decide())
    return Plan(
        head=event.head,
        decisions=tuple(decisions),
        changes=changes,
        findings=tuple(dict.fromkeys(findings)),
        gpu_hours=_gpu_hours(decisions, records),
    )


@dataclass(frozen=True, slots=True)
class _Chain:
    """The stages of one LoRA, each depending on the records of the ones before it."""

    lora: Lora
    facts: LoraFacts
    records: Records
    changes: ChangeSet
    event: Event
    tag: ReleaseTag | None

    def decide(self) -> Iterator[Decision]:
        """The decisions in stage order."""
        above: Decision | None = None
        adapter: str | None = None
        for stage in self.stages():
            decision = self.stage(stage, above, adapter)
            yield decision
            if stage is Stage.TRAIN and decision.record:
                artifact = decision.record.result.artifact(ADAPTER)
                adapter = artifact.sha256 if artifact else None
            above = decision

    def stages(self) -> list[Stage]:
        """Deploy joins only for a release tag."""
        return [s for s in Stage if s is not Stage.DEPLOY or self.tag is not None]

    def stage(self, stage: Stage, above: Decision | None, adapter: str | None) -> Decision:
        if self.facts.findings:
            return self.blocked(stage, self.facts.findings[0].message)
        if above is not None:
            if above.action is Action.BLOCKED:
                return self.blocked(stage, above.why)
            if above.action is not Action.REUSE:
                return self.decision(stage, Action.WAIT, f"waits for {above.stage}")
            if above.record and above.record.result.outcome is not Outcome.PASSED:
                outcome = above.record.result.outcome
                return self.blocked(stage, f"{above.stage} {outcome} in run {above.record.run_id}")
        if self.event.trust is Trust.UNTRUSTED and stage is not Stage.VALIDATE:
            return self.blocked(stage, "an untrusted push gets validation only, until approved")
        fingerprint = self.fingerprint(stage, adapter)
        record = self.records.find(fingerprint.value)
        if record:
            verb = "reused" if record.result.outcome is Outcome.PASSED else record.result.outcome
            why = f"{verb}: same fingerprint as in run {record.run_id} at {record.commit[:7]}"
            return self.decision(stage, Action.REUSE, why, fingerprint, record)
        return self.decision(stage, Action.RUN, self.why(stage, fingerprint), fingerprint)

    def fingerprint(self, stage: Stage, adapter: str | None) -> Fingerprint:
        lora, facts = self.lora, self.facts
        match stage:
            case Stage.VALIDATE:
                return validate_fingerprint(lora, facts)
            case Stage.TRAIN:
                return train_fingerprint(lora, facts)
            case Stage.QA:
                return qa_fingerprint(lora, facts, adapter or "none", self.released(adapter))
            case Stage.OPTIMIZE:
                return optimize_fingerprint(lora, facts, adapter or "none")
            case Stage.DEPLOY:
                version = self.tag.version if self.tag else "none"
                return deploy_fingerprint(lora, adapter or "none", version)

    def released(self, adapter: str | None) -> str | None:
        """The newest released adapter but this one: a candidate must not fall behind it."""
        return released_adapter(self.records, self.lora.name, adapter)

    def why(self, stage: Stage, fingerprint: Fingerprint) -> str:
        past = self.records.passed(self.lora.name, stage)
        if not past:
            return "first time"
        changed = fingerprint.changed_parts(past[0].parts)
        if not changed:
            return "what it made is not in the store any more"
        return "; ".join(self.explain(part) for part in changed[:3]) + (
            f"; and {len(changed) - 3} more" if len(changed) > 3 else ""
        )

    def explain(self, part: str) -> str:
        if part in ("dataset", "references"):
            facts = getattr(self.facts, part)
            change = next(
                (c for c in self.changes.datasets if facts and c.dataset == facts.path), None
            )
            return f"{part}: {describe_change(change)}" if change else f"{part} changed"
        if part == "dataset.missing":
            return "the DVC remote has other files now"
        if part == "code":
            return "lora-ci's own code for this stage changed"
        if part == "adapter":
            return "a new adapter"
        if "." in part:
            return f"config: {part} changed"
        return f"{part.replace('_', ' ')} changed"

    def blocked(self, stage: Stage, why: str) -> Decision:
        return self.decision(stage, Action.BLOCKED, why)

    def decision(
        self,
        stage: Stage,
        action: Action,
        why: str,
        fingerprint: Fingerprint | None = None,
        record: Record | None = None,
    ) -> Decision:
        return Decision(
            lora=self.lora.name,
            stage=stage,
            action=action,
            why=why,
            fingerprint=fingerprint,
            record=record,
        )


def released_adapter(records: Records, lora: str, other_than: str | None) -> str | None:
    """sha256 of the newest released adapter of a LoRA that is not `other_than`."""
    for record in records.passed(lora, Stage.DEPLOY):
        artifact = record.parts.get("adapter")
        if artifact and artifact != other_than:
            return artifact
    return None


def describe_change(change: DatasetChange) -> str:
    """`12 added, 3 modified of 140 files`."""
    if not change.known:
        return "changed, but its manifest cannot be read"
    counts = [
        f"{len(files)} {what}"
        for what, files in (
            ("added", change.added),
            ("removed", change.removed),
            ("modified", change.modified),
            ("renamed", change.renamed),
        )
        if files
    ]
    return f"{', '.join(counts) or 'unchanged since the base commit'} of {change.total} files"


def _unknown_tag(tag: str, config: Config) -> Finding:
    return Finding(
        rule="plan.unknown-tag",
        severity=Severity.ERROR,
        message=f"tag `{tag}` names no LoRA and version",
        hint=f"expected such as {next(iter(config.loras), 'mei')}@v1.0.0",
    )


def _gpu_hours(decisions: list[Decision], records: Records) -> float | None:
    """What the trainings to run took in the past, in hours; None if one was never trained."""
    total = 0.0
    for decision in decisions:
        if decision.stage is not Stage.TRAIN or decision.action not in (Action.RUN, Action.WAIT):
            continue
        past = records.passed(decision.lora, Stage.TRAIN)
        times = [r.result.timings_s["total"] for r in past if "total" in r.result.timings_s]
        if not times:
            return None
        total += sum(times) / len(times) / 3600
    return total
