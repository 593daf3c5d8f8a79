"""All tests, in the order in which reports tell them; the first five are scored."""

from __future__ import annotations

from lora_ci.qa.measures import (
    artifact,
    consistency,
    flexibility,
    identity,
    leakage,
    loss_gap,
    memorization,
    performance,
    regression,
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
        leakage,
        memorization,
        loss_gap,
        regression,
    )
)
