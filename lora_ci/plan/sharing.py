"""What several LoRAs of one plan have in common is done once: told in decisions and costs.

The same step of two LoRAs is one step, and a training with a longer budget goes on where one with a
shorter budget ended. Only who waits for whom, and what it costs, is decided here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lora_ci.config.model import Config, Lora
from lora_ci.core.fingerprint import Fingerprint
from lora_ci.core.plan import Action, Decision, Estimate
from lora_ci.core.shard import is_among, owner_of
from lora_ci.core.step import Outcome, Stage
from lora_ci.plan.epoch import epoch_images
from lora_ci.plan.facts import LoraFacts
from lora_ci.plan.fingerprints import (
    optimize_fingerprint,
    prefix_of,
    qa_fingerprint,
    train_fingerprint,
)
from lora_ci.plan.shards import lora_of

GOES_ON = (Action.RUN, Action.WAIT)
TWIN = "the same as "


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharer:
    """Looks at what the LoRAs of a plan share.

    `only` are those that will be done, None for all; `released` gives a LoRA's released adapter;
    `trained` are fingerprints of trainings, `looked` LoRAs and their facts, each made once.
    """

    config: Config
    facts: Mapping[str, LoraFacts]
    released: Callable[[str], str | None]
    only: frozenset[str] | None
    trained: dict[str, Fingerprint] = field(default_factory=dict)
    looked: dict[str, tuple[Lora, LoraFacts]] = field(default_factory=dict)

    def share(self, decisions: Sequence[Decision]) -> list[Decision]:
        """The decisions with longer trainings waiting for the shorter ones that they continue.

        What goes on costs only its rest, and what is the same costs only once.
        """
        once = self._once(decisions)
        chained: dict[str, Decision] = {}
        for group in self._groups(once):
            chained |= {d.lora: d for d in self._chain(group)}
        return [self._placed(d, chained) for d in once]

    def _once(self, decisions: Sequence[Decision]) -> list[Decision]:
        """The same step of several LoRAs belongs to the first of them, and costs only there."""
        owners: dict[str, str] = {}
        told = []
        for decision in decisions:
            if decision.action in GOES_ON and self._counts(decision):
                work = self._work(decision)
                owner = owners.setdefault(work.value, decision.lora) if work else decision.lora
                if owner != decision.lora:
                    decision = replace(decision, estimate=None, after=owner)  # noqa: PLW2901
            told.append(decision)
        return told

    def _work(self, decision: Decision) -> Fingerprint | None:
        """What stands for a step before its inputs are made: the adapter's fingerprint is its own.

        Equal fingerprints give equal bytes.
        """
        lora, facts = self._look(decision.lora)
        match decision.stage:
            case Stage.TRAIN:
                return self._train(lora.name)
            case Stage.QA:
                adapter = self._train(lora.name).value
                return qa_fingerprint(lora, facts, adapter, self.released(lora.name))
            case Stage.OPTIMIZE:
                return optimize_fingerprint(lora, facts, self._train(lora.name).value)
            case Stage.VALIDATE | Stage.DEPLOY:
                return None

    def _train(self, name: str) -> Fingerprint:
        if name not in self.trained:
            self.trained[name] = train_fingerprint(*self._look(name))
        return self.trained[name]

    def _groups(self, decisions: Sequence[Decision]) -> list[list[Decision]]:
        """Trainings that continue each other, the shortest first; twins stand aside."""
        groups: dict[str, list[Decision]] = defaultdict(list)
        for decision in decisions:
            if decision.stage is not Stage.TRAIN or decision.after or not self._counts(decision):
                continue
            record = decision.record
            done = record is not None and record.result.outcome is Outcome.PASSED
            lora, facts = self._look(decision.lora)
            if (done or decision.action in GOES_ON) and (prefix := prefix_of(lora, facts)):
                groups[prefix].append(decision)
        shared = [group for group in groups.values() if len(group) > 1]
        return [sorted(group, key=lambda d: self._steps(d.lora)) for group in shared]

    def _chain(self, group: Sequence[Decision]) -> list[Decision]:
        """The trainings of a group, each after the one before it; the first that can runs.

        What waits for something else too knows whom it will go on from, and says what it waits for.
        Nobody who could run waits for it: it may wait for long, and in vain.
        """
        chained: list[Decision] = []
        sure: list[Decision] = []
        runs: Decision | None = None
        for decision in group:
            waits = decision.action is Action.WAIT
            before = chained if waits else sure
            if before and decision.action in GOES_ON:
                decision = self._after_one(decision, before[-1].lora, runs)  # noqa: PLW2901
            if decision.action is Action.RUN:
                runs = decision
            chained.append(decision)
            if not waits:
                sure.append(decision)
        return chained

    def _after_one(self, decision: Decision, before: str, runs: Decision | None) -> Decision:
        """The decision as it is when it goes on from `before`; `runs` is what runs now."""
        decision = _rest(decision, self._steps(before) / self._steps(decision.lora))
        if decision.action is Action.WAIT:
            return replace(decision, after=before)
        if runs:
            return _after(decision, runs.lora)
        return replace(decision, why=f"{decision.why}; continues train of {before}")

    def _placed(self, decision: Decision, chained: Mapping[str, Decision]) -> Decision:
        """The new decision; a twin says what its first waits for."""
        if decision.stage is not Stage.TRAIN or not self._counts(decision):
            return decision
        if decision.lora in chained:
            return chained[decision.lora]
        first = chained.get(decision.after or "")
        if first and first.action is Action.WAIT and decision.why.startswith(TWIN):
            return replace(decision, why=f"{TWIN}train of {first.lora}, which {first.why}")
        return decision

    def _steps(self, name: str) -> int:
        lora, facts = self._look(name)
        return lora.train.total_steps(epoch_images(facts, lora.shard))

    def _look(self, name: str) -> tuple[Lora, LoraFacts]:
        """The LoRA, or shard, of that name, made once."""
        if name not in self.looked:
            self.looked[name] = lora_of(self.config, name), self.facts[owner_of(name)]
        return self.looked[name]

    def _counts(self, decision: Decision) -> bool:
        return self.only is None or is_among(decision.lora, self.only)


def _after(decision: Decision, first: str) -> Decision:
    why = f"continues train of {first}, which runs now"
    return replace(decision, action=Action.WAIT, why=why, fingerprint=None, after=first)


def _rest(decision: Decision, share_done: float) -> Decision:
    """The decision at the cost of what is not done yet."""
    cost = decision.estimate
    if cost is None:
        return decision
    left = max(0.0, 1.0 - share_done)
    rest = Estimate(low=cost.low * left, high=cost.high * left, basis=cost.basis)
    return replace(decision, estimate=rest)
