"""The decision: for each stage of each LoRA reuse, run, wait or blocked, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from lora_ci.config.model import Config, Lora
from lora_ci.core.changeset import ChangeSet
from lora_ci.core.event import Event, EventKind
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.fingerprint import Fingerprint
from lora_ci.core.plan import Action, Decision, Plan, Record
from lora_ci.core.shard import is_among
from lora_ci.core.step import Outcome, Stage
from lora_ci.plan.budget import NO_LIMIT, Budget, over_budget
from lora_ci.plan.estimate import GPU_STAGES, estimate, total
from lora_ci.plan.facts import LoraFacts
from lora_ci.plan.fingerprints import (
    deploy_fingerprint,
    optimize_fingerprint,
    qa_fingerprint,
    train_fingerprint,
    validate_fingerprint,
)
from lora_ci.plan.records import Compare, Records
from lora_ci.plan.releasing import released_adapter, unknown_tag, withheld
from lora_ci.plan.shards import shards_of
from lora_ci.plan.sharing import TWIN, Sharer
from lora_ci.plan.tags import ChannelTag, ReleaseTag, parse_tag
from lora_ci.plan.trust import Allowed, decide_right, forbidden_program, is_approved, skip_reason
from lora_ci.plan.why import Sight

ADAPTER = "adapter.safetensors"
SHOWN = 3


def decide(
    config: Config,
    facts: Mapping[str, LoraFacts],
    records: Records,
    *,
    changes: ChangeSet,
    event: Event,
    compare: Compare = lambda _now, _then: None,
    budget: Budget = NO_LIMIT,
    only: frozenset[str] | None = None,
) -> Plan:
    """The plan for a commit. The fingerprints decide; `changes` and `compare` only explain.

    No LoRA waits for a step of one that is not among `only` (None: all), for nobody will do it.
    """
    findings = [*config.notes, *changes.findings]
    if reason := skip_reason(event, config.paths, changes.files):
        return Plan(
            head=event.head,
            decisions=(),
            changes=changes,
            findings=tuple(findings),
            skipped=reason,
        )
    tag = parse_tag(event.tag) if event.kind is EventKind.TAG and event.tag else None
    if event.kind is EventKind.TAG and (tag is None or tag.lora not in config.loras):
        findings.append(unknown_tag(event.tag or "", config))
        wanted: list[str] = []
    else:
        wanted = [tag.lora] if tag else list(config.loras)
    findings += [f for name in wanted for f in (*facts[name].findings, *not_pushed(facts[name]))]
    allowed = decide_right(event, config.policy)
    planner = _Planner(config, facts, records, changes, allowed, tag, compare, only)
    decisions = planner.sharer().share([d for name in wanted for d in planner.chain(name)])
    cost = total(d.estimate for d in decisions)
    too_much = None if is_approved(event, config.policy) else over_budget(cost, budget)
    if too_much:
        decisions = [_without_gpu(d, too_much) for d in decisions]
    may_be_approved = too_much or (allowed.widens and allowed.why)
    blocked = {d.why for d in decisions if d.action is Action.BLOCKED}
    return Plan(
        head=event.head,
        decisions=tuple(decisions),
        changes=changes,
        findings=tuple(dict.fromkeys(findings)),
        estimate=cost,
        awaits_approval=may_be_approved in blocked,
        releasable=tuple(n for n in wanted if withheld(config, config.loras[n]) is None),
    )


@dataclass(slots=True)
class _Planner:
    """The chains of all LoRAs, each made once; `running` are the steps that run now."""

    config: Config
    facts: Mapping[str, LoraFacts]
    records: Records
    changes: ChangeSet
    allowed: Allowed
    tag: ReleaseTag | ChannelTag | None
    compare: Compare
    only: frozenset[str] | None
    chains: dict[str, tuple[Decision, ...]] = field(default_factory=dict)
    running: dict[str, str] = field(default_factory=dict)
    past: dict[tuple[str | None, Stage], tuple[Record, ...]] = field(default_factory=dict)

    def chain(self, name: str) -> tuple[Decision, ...]:
        """The decisions of a LoRA in stage order; what it needs is decided first.

        The config has no cycles.
        """
        if name not in self.chains:
            self.chains[name] = tuple(_Chain(self.config.loras[name], self.facts[name], self).go())
        return self.chains[name]

    def sharer(self) -> Sharer:
        """What finds the work that LoRAs have in common."""
        return Sharer(
            config=self.config,
            facts=self.facts,
            released=lambda name: released_adapter(self.passed(name, Stage.DEPLOY), None),
            only=self.only,
        )

    def twin(self, fingerprint: Fingerprint, lora: str) -> str | None:
        """Another LoRA that runs the very same step now."""
        if self.only is not None and not is_among(lora, self.only):
            return None
        first = self.running.setdefault(fingerprint.value, lora)
        return None if first == lora else first

    def passed(self, lora: str | None, stage: Stage) -> tuple[Record, ...]:
        """As `Records.passed`; each is asked for once."""
        key = lora, stage
        if key not in self.past:
            self.past[key] = self.records.passed(lora, stage)
        return self.past[key]


@dataclass(frozen=True, slots=True)
class _Chain:
    """The stages of one LoRA, each depending on the records of the ones before it."""

    lora: Lora
    facts: LoraFacts
    planner: _Planner

    def go(self) -> Iterator[Decision]:
        above: Decision | None = None
        adapter: str | None = None
        for stage in self.stages():
            if stage is Stage.TRAIN:
                yield from self.shards(above)
            decision = self.stage(stage, above, adapter)
            yield decision
            if stage is Stage.TRAIN and decision.record:
                artifact = decision.record.result.artifact(ADAPTER)
                adapter = artifact.sha256 if artifact else None
            above = decision

    def stages(self) -> list[Stage]:
        """Deploy joins only for a tag of the LoRA's own."""
        tag = self.planner.tag
        mine = tag is not None and tag.lora == self.lora.name
        return [s for s in Stage if s is not Stage.DEPLOY or mine]

    def shards(self, above: Decision | None) -> Iterator[Decision]:
        """The trainings that this one's is merged from, each a chain of its own.

        Where the merged one is on record nobody asks for them: those on record are only told.
        """
        shards = shards_of(self.lora)
        is_stopped = above and (above.action is Action.BLOCKED or _did_not_pass(above))
        if not shards or is_stopped:
            return  # what stops the LoRA is told once
        is_merged = self.record(self.fingerprint(Stage.TRAIN, None)) is not None
        for lora in shards:
            part = replace(self, lora=lora)
            if is_merged and part.record(part.fingerprint(Stage.TRAIN, None)) is None:
                continue
            decision = part.stage(Stage.TRAIN, above, None)
            self.planner.chains[lora.name] = (decision,)
            yield decision

    def stage(self, stage: Stage, above: Decision | None, adapter: str | None) -> Decision:
        if self.facts.findings:
            return self.blocked(stage, self.facts.findings[0].message)
        if above is not None:
            if above.action is Action.BLOCKED:
                return self.blocked(stage, above.why)
            if above.action is not Action.REUSE:
                if not self.planner.allowed.covers(stage):
                    return self.blocked(stage, self.planner.allowed.why)
                return self.waits(stage, f"waits for {above.stage}")
            if above.record and _did_not_pass(above):
                outcome = above.record.result.outcome
                return self.blocked(stage, f"{above.stage} {outcome} in run {above.record.run_id}")
        if stage is Stage.DEPLOY and (reason := self.unreleasable(adapter)):
            return self.blocked(stage, reason)
        fingerprint = self.fingerprint(stage, adapter)
        if record := self.record(fingerprint):
            verb = "reused" if record.result.outcome is Outcome.PASSED else record.result.outcome
            why = f"{verb}: same fingerprint as in run {record.run_id} at {record.commit[:7]}"
            return self.decision(stage, Action.REUSE, why, fingerprint, record)
        return self.begin(stage, fingerprint)

    def record(self, fingerprint: Fingerprint) -> Record | None:
        return self.planner.records.find(fingerprint.value)

    def begin(self, stage: Stage, fingerprint: Fingerprint) -> Decision:
        """A stage that nothing can be reused for: it runs, if nothing speaks against it."""
        if not self.planner.allowed.covers(stage):
            return self.blocked(stage, self.planner.allowed.why)
        if reason := forbidden_program(stage, self.lora, self.planner.config.policy):
            return self.blocked(stage, reason)
        if stage is Stage.TRAIN and (decision := self.what_it_needs() or self.its_shards()):
            return decision
        if twin := self.planner.twin(fingerprint, self.lora.name):
            why = f"{TWIN}{stage} of {twin}, which runs now"
            return replace(self.waits(stage, why), after=twin)
        why = self.why(stage, fingerprint)
        if stage is Stage.TRAIN and self.lora.train.shards > 1:
            why = f"merges {self.lora.train.shards} shards; {why}"
        return self.decision(stage, Action.RUN, why, fingerprint)

    def what_it_needs(self) -> Decision | None:
        """Why it does not train yet: a LoRA that it needs has not passed."""
        stage = Stage.TRAIN
        for name in self.lora.needs:
            qa = next(d for d in self.planner.chain(name) if d.stage is Stage.QA)
            if qa.action is Action.BLOCKED:
                return self.blocked(stage, f"needs {name}: {qa.why}")
            if qa.record is None:
                return self.waits(stage, f"waits for qa of {name}")
            if qa.record.result.outcome is not Outcome.PASSED:
                outcome = qa.record.result.outcome
                return self.blocked(stage, f"needs {name}: qa {outcome} in run {qa.record.run_id}")
        return None

    def its_shards(self) -> Decision | None:
        """Why it is not merged yet: one of its shards has not been trained, or never will be."""
        stage, done = Stage.TRAIN, 0
        shards = shards_of(self.lora)
        for lora in shards:
            told = lora.shard.words if lora.shard else lora.name
            # Not there: what they were merged to went away since they were looked at.
            for train in self.planner.chains.get(lora.name, ()):
                if train.action is Action.BLOCKED:
                    return self.blocked(stage, f"{told}: {train.why}")
                if train.record and _did_not_pass(train):
                    why = f"train {train.record.result.outcome} in run {train.record.run_id}"
                    return self.blocked(stage, f"{told}: {why}")
                done += train.record is not None
        if done < len(shards):
            return self.waits(stage, f"waits for {len(shards) - done} of {len(shards)} shards")
        return None

    def fingerprint(self, stage: Stage, adapter: str | None) -> Fingerprint:
        lora, facts, made = self.lora, self.facts, adapter or "none"
        match stage:
            case Stage.VALIDATE:
                return validate_fingerprint(lora, facts)
            case Stage.TRAIN:
                return train_fingerprint(lora, facts)
            case Stage.QA:
                released = released_adapter(self.planner.passed(lora.name, Stage.DEPLOY), adapter)
                return qa_fingerprint(lora, facts, made, released)
            case Stage.OPTIMIZE:
                return optimize_fingerprint(lora, facts, made)
            case Stage.DEPLOY:
                version, channels = self.release(adapter)
                return deploy_fingerprint(lora, made, version or "none", channels)

    def release(self, adapter: str | None) -> tuple[str | None, tuple[str, ...]]:
        """The version that the tag asks for, and the channels that it moves."""
        if isinstance(self.planner.tag, ReleaseTag):
            return self.planner.tag.version, self.lora.deploy.channels
        for record in self.planner.passed(self.lora.name, Stage.DEPLOY):
            if record.parts.get("adapter") == adapter and self.planner.tag:
                return record.parts["version"], (self.planner.tag.channel,)
        return None, ()

    def unreleasable(self, adapter: str | None) -> str | None:
        """Why a tag cannot be followed."""
        if why := withheld(self.planner.config, self.lora):
            return why
        if self.release(adapter)[0] is None:
            name = self.lora.name
            return f"the adapter of this commit was not released; next: git tag {name}@v<version>"
        return None

    def why(self, stage: Stage, fingerprint: Fingerprint) -> str:
        """What makes the stage run, as told by the newest record it cannot reuse."""
        past = self.planner.passed(self.lora.name, stage)
        if not past:
            return "first time"
        planner = self.planner
        return Sight(self.facts, planner.changes, planner.compare).explain(fingerprint, past[0])

    def blocked(self, stage: Stage, why: str) -> Decision:
        return self.decision(stage, Action.BLOCKED, why)

    def waits(self, stage: Stage, why: str) -> Decision:
        return self.decision(stage, Action.WAIT, why)

    def decision(
        self,
        stage: Stage,
        action: Action,
        why: str,
        fingerprint: Fingerprint | None = None,
        record: Record | None = None,
    ) -> Decision:
        lora, planner = self.lora, self.planner
        cost = None
        if action in (Action.RUN, Action.WAIT):
            past = planner.passed(lora.name, stage)
            cost = estimate(lora, self.facts, stage, past, planner.passed(None, stage))
        return Decision(
            lora=lora.name,
            stage=stage,
            action=action,
            why=why,
            fingerprint=fingerprint,
            record=record,
            estimate=cost,
        )


def _did_not_pass(decision: Decision) -> bool:
    """True if it is on record that the stage did not pass."""
    record = decision.record
    return record is not None and record.result.outcome is not Outcome.PASSED


def not_pushed(facts: LoraFacts) -> list[Finding]:
    """A warning for each source whose files the DVC remote lacks; validation will fail on them."""
    return [
        Finding(
            rule="inputs.not-pushed",
            severity=Severity.WARNING,
            message=f"{len(source.missing)} of {len(source.entries or ())} files of "
            f"`{source.path}` are not in the DVC remote: {', '.join(source.missing[:SHOWN])}"
            + (", …" if len(source.missing) > SHOWN else ""),
            hint="next: dvc push, on the machine that has them",
        )
        for source in facts.sources
        if source.missing
    ]


def _without_gpu(decision: Decision, why: str) -> Decision:
    """What costs nothing goes on."""
    if decision.stage in GPU_STAGES and decision.action in (Action.RUN, Action.WAIT):
        return replace(decision, action=Action.BLOCKED, why=why)
    return decision
