"""The facts of the page as JSON, for programs: `report.json` beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from lora_ci.core.run import RunView, StepView
from lora_ci.report.details import read_details
from lora_ci.report.reason import lora_outcome, lora_reason, reason

# Raised where a key is renamed, dropped or changes its meaning; new keys may come at any time.
VERSION = 1


def render_twin(view: RunView) -> str:
    """One JSON object; what is not known is absent or null, numbers are finite."""
    event = view.event
    facts = {
        "version": VERSION,
        "run": view.run_id,
        "started_at": view.started_at,
        "duration_s": view.duration_s,
        "outcome": view.outcome,
        "reason": reason(view),
        "commit": event.head or None,
        "compared_with": view.plan.changes.base,
        "pull_request": event.number,
        "tag": event.tag,
        "findings": view.plan.findings,
        "loras": {lora: _lora(view, lora) for lora in view.loras()},
        "sweeps": view.sweeps,
    }
    return msgspec.json.format(msgspec.json.encode(facts)).decode() + "\n"


def _lora(view: RunView, lora: str) -> dict[str, Any]:
    return {
        "outcome": lora_outcome(view, lora),
        "reason": lora_reason(view, lora),
        "stages": {step.decision.stage: _stage(step) for step in view.of(lora)},
        **_shards(view, lora),
        "votes": [votes for votes in view.votes if votes.lora == lora],
        "earlier": next((was for was in view.earlier if was.lora == lora), None),
    }


def _shards(view: RunView, lora: str) -> dict[str, Any]:
    """The trainings that were merged, by their names; absent where it was trained in one."""
    shards = {step.decision.lora: _stage(step) for step in view.shards(lora)}
    return {"shards": shards} if shards else {}


def _stage(step: StepView) -> dict[str, Any]:
    decision, result = step.decision, step.result
    told: dict[str, Any] = {"action": decision.action, "why": decision.why}
    if decision.fingerprint:
        told |= {
            "fingerprint": decision.fingerprint.value,
            "parts": decision.fingerprint.parts,
        }
    if result is None:
        return told | {"outcome": None}
    return told | {
        "outcome": result.outcome,
        "metrics": result.metrics,
        "timings_s": result.timings_s,
        "findings": result.findings,
        "artifacts": result.artifacts,
        "details": _known(msgspec.to_builtins(read_details(decision.stage, result))),
    }


def _known(details: Mapping[str, Any]) -> dict[str, Any]:
    """The sections that have something to say."""
    return {name: value for name, value in details.items() if value not in (None, [], {}, ())}
