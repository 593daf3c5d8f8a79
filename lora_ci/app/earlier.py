"""What datasets were before a change, as on record of the commit that is compared with."""

from __future__ import annotations

from dataclasses import replace

from lora_ci.app.source import Source
from lora_ci.core.errors import LoraCIError
from lora_ci.core.run import Earlier, RunView
from lora_ci.core.step import Outcome, Stage
from lora_ci.plan.fingerprints import validate_fingerprint
from lora_ci.plan.records import Records
from lora_ci.report.details import rules_of


def with_earlier(view: RunView, source: Source, records: Records) -> RunView:
    """The view with the earlier results of datasets that changed; nothing is run for it.

    It only explains: what cannot be read, or is not on record, is left out.
    """
    if view.outcome in (None, Outcome.INTERRUPTED):
        return view
    base = view.plan.changes.base
    validated = [s for s in view.steps if s.decision.stage is Stage.VALIDATE and s.result]
    if base is None or not view.plan.changes.datasets or not validated:
        return view
    try:
        then = source.gather(replace(view.event, head=base, base=base))
    except LoraCIError:
        return view
    found = []
    for step in validated:
        name, now = step.decision.lora, step.decision.fingerprint
        if name not in then.facts or now is None:
            continue
        fingerprint = validate_fingerprint(then.config.loras[name], then.facts[name])
        record = records.find(fingerprint.value) if fingerprint.value != now.value else None
        if record:
            result = record.result
            found.append(Earlier(lora=name, metrics=result.metrics, rules=rules_of(result)))
    return replace(view, earlier=tuple(found))
