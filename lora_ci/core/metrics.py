"""The names of what QA measures, where it can."""

from __future__ import annotations

OVERALL = "overall"
TEST = "score."

# `score.…` are the five tests.
QA_METRICS = frozenset(
    (
        *(OVERALL, "identity", "flexibility", "variety", "spread", "power", "sound", "leakage"),
        *("memorization", "loss.against-base", "latency_ratio", "size_share"),
        *(f"{TEST}{name}" for name in ("identity", "flexibility", "artifact")),
        *(f"{TEST}{name}" for name in ("consistency", "performance")),
    )
)
