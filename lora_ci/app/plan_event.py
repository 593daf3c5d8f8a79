"""From an event to a plan: what `lora-ci plan` shows and what a run starts from."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from lora_ci.app.scope import EVERYTHING, Scope, check_scope
from lora_ci.app.source import Gathered, Source
from lora_ci.automl.matrix import sharing_of, variants_of
from lora_ci.core.clock import Clock
from lora_ci.core.event import Event
from lora_ci.core.plan import Plan
from lora_ci.plan.budget import Budget, make_budget
from lora_ci.plan.decide import decide
from lora_ci.plan.estimate import spent_hours
from lora_ci.plan.records import Records

MONTH = timedelta(days=30)


def plan_event(
    event: Event, source: Source, records: Records, clock: Clock, scope: Scope = EVERYTHING
) -> tuple[Plan, Gathered]:
    """What the event changes and what would run. Reads inputs and records; runs nothing.

    The plan is that of the commit; the scope only says who will not be waited for.

    Raises:
        UnknownLora: the config does not have a LoRA of the scope.
    """
    gathered = source.gather(event)
    check_scope(scope, gathered)
    members = scope.with_needs(gathered.config).members()
    return plan_gathered(event, gathered, records, clock, members), gathered


def plan_gathered(
    event: Event,
    gathered: Gathered,
    records: Records,
    clock: Clock,
    only: frozenset[str] | None = None,
) -> Plan:
    """The plan with the records as they are now; `only` those LoRAs will be done (None: all)."""
    plan = decide(
        gathered.config,
        gathered.facts,
        records,
        changes=gathered.changes,
        event=event,
        compare=gathered.compare,
        budget=find_budget(gathered, records, clock),
        only=only,
    )
    config, facts = gathered.config, gathered.facts
    return replace(plan, variants=variants_of(config), sharing=sharing_of(config, facts))


def find_budget(gathered: Gathered, records: Records, clock: Clock) -> Budget:
    """What the policy leaves to spend; the past is only asked where a limit needs it."""
    policy = gathered.config.policy
    if policy.max_gpu_hours_per_month is None:
        return make_budget(policy, 0.0)
    since = (clock.now() - MONTH).isoformat(timespec="microseconds")
    return make_budget(policy, spent_hours(records.finished_since(since)))
