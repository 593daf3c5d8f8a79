"""The newest judgement that people can be asked about."""

from __future__ import annotations

from dataclasses import dataclass

from lora_ci.core.errors import UsageError
from lora_ci.core.step import Stage, StepResult
from lora_ci.ledger.ledger import Ledger

# How far back it is looked for.
MOST_RUNS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A result of QA in a run."""

    run_id: str
    lora: str
    fingerprint: str
    result: StepResult


def newest_judged(ledger: Ledger, *, lora: str | None, run_id: str | None) -> Judged:
    """The judgement of a LoRA in a run; without names, the newest.

    Raises UsageError: there is none, or several LoRAs were judged in the run and none is named.
    """
    runs = [run_id] if run_id else [row.id for row in ledger.recent_runs(MOST_RUNS)]
    others: dict[str, None] = {}
    for name in runs:
        found = judged_in(ledger, name)
        others |= dict.fromkeys(found)
        if lora is None and len(found) > 1:
            hint = f"next: lora-ci qa review {next(iter(found))}"
            message = f"run {name} judged {len(found)} LoRAs: {', '.join(found)}"
            raise UsageError(message, hint=hint)
        wanted = found.get(lora) if lora else next(iter(found.values()), None)
        if wanted:
            return wanted
    where = f"run {run_id}" if run_id else "the recent runs"
    what = f"no judgement of `{lora}`" if lora else "no judgement"
    known = f"; judged are: {', '.join(others)}" if others else ""
    raise UsageError(f"{where}: {what}{known}", hint="next: lora-ci status; lora-ci qa run")


def judged_in(ledger: Ledger, run_id: str) -> dict[str, Judged]:
    """What a run judged, or took over from an earlier one, by LoRA."""
    view = ledger.load_view(run_id)
    return {
        step.decision.lora: Judged(
            run_id=run_id,
            lora=step.decision.lora,
            fingerprint=step.decision.fingerprint.value,
            result=step.result,
        )
        for step in (view.steps if view else ())
        if step.decision.stage is Stage.QA and step.decision.fingerprint and step.result
    }
