"""What part of a plan is wanted."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lora_ci.app.source import Gathered
from lora_ci.config.model import Config
from lora_ci.core.errors import UsageError
from lora_ci.core.plan import Decision, Plan
from lora_ci.core.shard import is_among, owner_of
from lora_ci.core.step import Outcome, Stage
from lora_ci.plan.estimate import total
from lora_ci.plan.shards import shards_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What part of the plan is wanted: some LoRAs, or the stages up to `last`.

    A LoRA stands for its shards too; of a shard alone its training is wanted, after validation.
    `needed` are LoRAs that the wanted ones wait for; they go as far as their verdict.
    """

    loras: frozenset[str] | None = None
    last: Stage | None = None
    needed: frozenset[str] = frozenset()

    def wants(self, decision: Decision) -> bool:
        """True if the decision lies inside the scope."""
        if self.loras is None or is_among(decision.lora, self.loras):
            return self.last is None or until(decision.stage, self.last)
        if decision.stage is Stage.VALIDATE and decision.lora in map(owner_of, self.loras):
            return True
        return is_among(decision.lora, self.needed) and until(decision.stage, Stage.QA)

    def narrow(self, plan: Plan) -> Plan:
        """The plan without what lies outside the scope."""
        if self.loras is None and self.last is None:
            return plan
        wanted = tuple(d for d in plan.decisions if self.wants(d))
        left_out = {owner_of(d.lora): None for d in plan.decisions if not _has_passed(d)}
        for decision in wanted:
            left_out.pop(owner_of(decision.lora), None)
        names = {d.lora for d in wanted}
        matrices = {v.of for v in plan.variants if v.lora in names}
        return replace(
            plan,
            decisions=wanted,
            estimate=total(d.estimate for d in wanted),
            left_out=tuple(left_out),
            variants=tuple(v for v in plan.variants if v.lora in names),
            sharing=tuple(s for s in plan.sharing if s.of in matrices),
        )

    def members(self) -> frozenset[str] | None:
        """The LoRAs of which something will be done; None for all."""
        return None if self.loras is None else self.loras | self.needed

    def with_needs(self, config: Config) -> Scope:
        """The scope and all that it needs, however far away."""
        found: set[str] = set()
        ahead = list(self.loras or ())
        while ahead:
            new = [n for n in config.loras[owner_of(ahead.pop())].needs if n not in found]
            found.update(new)
            ahead += new
        return replace(self, needed=frozenset(found))


def until(stage: Stage, last: Stage) -> bool:
    """True if the stage does not come after `last`."""
    stages = list(Stage)
    return stages.index(stage) <= stages.index(last)


def _has_passed(decision: Decision) -> bool:
    """True if it is on record that the stage passed."""
    record = decision.record
    return record is not None and record.result.outcome is Outcome.PASSED


EVERYTHING = Scope()


class UnknownLora(UsageError):  # noqa: N818 - what it is
    """A LoRA was asked for that is not there: a slip of whoever asks, no fault of the commit."""


def check_scope(scope: Scope, gathered: Gathered) -> None:
    """Raises UnknownLora for a LoRA that the config does not have."""
    known = gathered.config.loras
    shards = {shard.name for lora in known.values() for shard in shards_of(lora)}
    unknown = sorted((scope.loras or frozenset()) - known.keys() - shards)
    if not unknown:
        return
    name = unknown[0]
    if any(lora.variant_of == name for lora in known.values()):
        hint = f"next: lora-ci sweep {name}, or name one of its variants"
        raise UnknownLora(f"`{name}` is a matrix of LoRAs", hint=hint)
    hint = f"name one of: {', '.join(known)}"
    raise UnknownLora(f"no LoRA `{name}` is in the config of this commit", hint=hint)
