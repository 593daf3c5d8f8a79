"""What a push would do, told without doing any of it."""

from __future__ import annotations

from lora_ci.app.plan_event import plan_gathered
from lora_ci.app.source import Source
from lora_ci.core.clock import Clock
from lora_ci.core.event import Event, EventKind
from lora_ci.core.plan import Plan
from lora_ci.plan.records import Records
from lora_ci.plan.simulate import Imagined, imagine


def simulate(start: str, to: str, source: Source, records: Records, clock: Clock) -> Plan:
    """The plan of a push from `start`, all of whose steps count as passed, to `to`.

    Raises:
        UsageError: one of the commits has no config that can be used.
    """
    imagined = Imagined(records)
    plan = None
    for base, head in ((None, start), (start, to)):
        event = Event(kind=EventKind.PUSH, repo=source.root.name, head=head, base=base)
        gathered = source.gather(event)
        plan = imagine(
            lambda known, e=event, g=gathered: plan_gathered(e, g, known, clock),  # type: ignore[misc]
            imagined,
        )
    assert plan is not None
    return plan
