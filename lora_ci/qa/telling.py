"""What a sitting came to, as the JSON that reports render. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from lora_ci.core.metrics import FIVE_TESTS, TEST
from lora_ci.qa.scores import PASS_MARK, Overall
from lora_ci.qa.sitting import Sitting
from lora_ci.qa.verdict import Verdict
from lora_ci.ruler.likeness import similarity


def metrics_of(verdict: Verdict) -> dict[str, float]:
    """The metrics as plain numbers; what was not measured is absent."""
    return {name: estimate.mean for name, estimate in verdict.metrics.items()}


def details_of(sitting: Sitting) -> dict[str, Any]:
    """Scores, gates, checks, likeness, the weights tried, and how sure all of it is."""
    evidence, readings, verdict = sitting.evidence, sitting.readings, sitting.verdict
    strength = readings.get("strength")
    likenesses = {}
    if evidence.scale:
        likenesses = similarity(evidence.scale, evidence.adapter.of(evidence.prompts.identity))
    details: dict[str, Any] = msgspec.to_builtins(
        {
            "overall": _overall(verdict.overall),
            "tests": _tests(sitting),
            "gates": verdict.gates,
            "checks": verdict.checks,
            "similarity": likenesses or None,
            "comparison": _comparison(sitting),
            "looks": sitting.looks,
            "settle": verdict.settle,
            "seeds": evidence.seeds,
            "most_seeds": sitting.most_seeds,
            "weight": evidence.weight,
            "trigger": evidence.trigger,
            "curve": [point.told() for point in strength.curve] if strength else (),
            "window": strength.window if strength else None,
        }
    )
    return details


def _overall(total: Overall | None) -> dict[str, float | None]:
    found = total.interval() if total else None
    return {
        "score": found.mean if found else None,
        "low": found.low if found else None,
        "high": found.high if found else None,
        "pass_mark": PASS_MARK,
    }


def _tests(sitting: Sitting) -> list[dict[str, Any]]:
    """The scored tests; one that could not be made has no score."""
    told = []
    for name, reading in sitting.readings.items():
        metric = sitting.verdict.metrics.get(f"{TEST}{name}")
        if name not in FIVE_TESTS:
            continue
        ends = metric.interval() if metric else None
        told.append(
            {
                "name": name,
                "score": ends.mean if ends else None,
                "low": ends.low if ends else None,
                "high": ends.high if ends else None,
                "why": reading.why if ends else f"not measured: {reading.lacking}",
            }
        )
    return told


def _comparison(sitting: Sitting) -> dict[str, Any] | None:
    """Candidate less released, in the loss."""
    found = sitting.verdict.metrics.get("loss.against-released")
    if found is None:
        return None
    ends = found.interval()
    return {
        "released_version": sitting.evidence.released_version,
        "metric": "loss",
        "difference": ends.mean,
        "low": ends.low,
        "high": ends.high,
        "pairs": ends.n,
        "why": sitting.readings["regression"].why,
    }
