"""All tests, in the order in which reports tell them; the first five are scored."""

from __future__ import annotations

from lora_ci.qa.measures import (
    artifact,
    base_look,
    composability,
    consistency,
    flexibility,
    following,
    identity,
    leakage,
    loss_gap,
    memorization,
    performance,
    regression,
    safety,
    strength,
    variety,
)

MEASURES = tuple(
    module.MEASURE
    for module in (
        identity,
        flexibility,
        artifact,
        consistency,
        performance,
        variety,
        following,
        leakage,
        strength,
        memorization,
        loss_gap,
        base_look,
        composability,
        safety,
        regression,
    )
)
