"""A plan → shares that machines can work on side by side, none of them doing another's work."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from lora_ci.core.plan import Action, Decision, Plan
from lora_ci.core.shard import owner_of
from lora_ci.core.step import Stage

# Jobs of one matrix. Source: https://docs.github.com/en/actions/reference/limits
MOST = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """LoRAs for one machine, in plan order; `gpu`: more than validation is to be done."""

    loras: tuple[str, ...]
    gpu: bool


def split(plan: Plan, needs: Mapping[str, Sequence[str]], most: int = MOST) -> tuple[Share, ...]:
    """The shares of what is to run, at most `most`.

    LoRAs that need each other, whose work has the same fingerprint or goes on where another's
    ended, are in one share: apart they would do it twice. So are the shards of a LoRA, which are
    merged there. Validation is cheap, so each share does its own.
    """
    plan = replace(plan, decisions=tuple(map(_of_its_lora, plan.decisions)))
    groups = _joined(plan, _pairs(plan, needs))
    related = _joined(plan, [*_pairs(plan, needs), *_same(plan, beyond_validation=False)])
    begun = {related[d.lora] for d in plan.to_run()}
    busy = {d.lora for d in plan.decisions if _goes_on(d) and related[d.lora] in begun}
    gathered: dict[str, list[str]] = defaultdict(list)
    for lora in dict.fromkeys(d.lora for d in plan.decisions):
        if lora in busy:
            gathered[groups[lora]].append(lora)
    shares = list(gathered.values())
    # More than fit are dealt out.
    dealt = [[lora for share in shares[at::most] for lora in share] for at in range(most)]
    beyond = {d.lora for d in plan.decisions if d.stage is not Stage.VALIDATE and _goes_on(d)}
    return tuple(
        Share(loras=tuple(loras), gpu=not beyond.isdisjoint(loras)) for loras in dealt if loras
    )


def _of_its_lora(decision: Decision) -> Decision:
    """The decision with the LoRA in place of its shard."""
    after = owner_of(decision.after) if decision.after else None
    return replace(decision, lora=owner_of(decision.lora), after=after)


def _goes_on(decision: Decision) -> bool:
    return decision.action in (Action.RUN, Action.WAIT)


def _joined(plan: Plan, pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The first LoRA of each one's group."""
    parent = {d.lora: d.lora for d in plan.decisions}

    def root(lora: str) -> str:
        while parent[lora] != lora:
            lora = parent[lora]
        return lora

    for one, other in pairs:
        if one in parent and other in parent:
            parent[root(other)] = root(one)
    return {lora: root(lora) for lora in parent}


def _pairs(plan: Plan, needs: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """LoRAs that belong on one machine, two by two."""
    needed = [(lora, other) for lora, others in needs.items() for other in others]
    return [*needed, *_same(plan, beyond_validation=True)]


def _same(plan: Plan, *, beyond_validation: bool) -> Iterator[tuple[str, str]]:
    """LoRAs with a step that is the same, or that goes on where the other's ended."""
    owners: dict[str, str] = {}
    for decision in plan.decisions:
        if beyond_validation and decision.stage is Stage.VALIDATE:
            continue
        if decision.after:
            yield decision.after, decision.lora
        if decision.action is Action.RUN and decision.fingerprint:
            yield owners.setdefault(decision.fingerprint.value, decision.lora), decision.lora
