"""From an event to a plan: what `lora-ci plan` shows and what a run starts from."""

from __future__ import annotations

from lora_ci.app.source import Gathered, Source
from lora_ci.core.event import Event
from lora_ci.core.plan import Plan
from lora_ci.plan.decide import decide
from lora_ci.plan.records import Records


def plan_event(event: Event, source: Source, records: Records) -> tuple[Plan, Gathered]:
    """What the event changes and what would run. Reads inputs and records; runs nothing."""
    gathered = source.gather(event)
    return plan_gathered(event, gathered, records), gathered


def plan_gathered(event: Event, gathered: Gathered, records: Records) -> Plan:
    """The plan with the records as they are now."""
    return decide(gathered.config, gathered.facts, records, changes=gathered.changes, event=event)
