"""The names of what QA measures, where it can."""

from __future__ import annotations

OVERALL = "overall"
TEST = "score."
FIVE_TESTS = ("identity", "flexibility", "artifact", "consistency", "performance")

QA_METRICS = frozenset(
    (
        *(OVERALL, *(f"{TEST}{name}" for name in FIVE_TESTS)),
        *("identity", "power", "flexibility", "sound", "blank", "spread", "variety"),
        *("latency_ratio", "size_share"),
        *(
            "leakage",
            "memorization",
            "memorization.recalled",
            "following",
            "base_look",
            "composability",
            "composability.other",
            "unsafe",
        ),
        *("recommended_weight", "window.low", "window.high"),
        *("loss.against-base", "loss.against-half", "loss.gap"),
        *("loss.against-released", "identity.against-released"),
    )
)
