"""Learning rates as pure functions of (step, total): nothing is carried from step to step."""

from __future__ import annotations

import math
from collections.abc import Callable

from lora_ci.core.settings import TrainSettings


def peak_rate(settings: TrainSettings) -> float:
    """The highest learning rate; Prodigy estimates it and is given the factor 1."""
    return 1.0 if settings.optimizer == "prodigy" else settings.learning_rate


def peak_text_rate(settings: TrainSettings) -> float:
    """That of the text encoders."""
    if settings.optimizer == "prodigy":
        return peak_rate(settings)
    return settings.text_encoder_learning_rate or peak_rate(settings)


def rate_factor(step: int, total: int, settings: TrainSettings) -> float:
    """The share of the peak learning rate that step number `step` (from 0) takes, in [0, 1].

    A linear warm-up comes first; the schedule has the steps that are left.
    """
    if step < settings.warmup_steps:
        return (step + 1) / settings.warmup_steps
    if settings.optimizer == "schedule-free-adamw":
        return 1.0
    share = (step - settings.warmup_steps) / max(1, total - settings.warmup_steps)
    return SCHEDULES[settings.schedule](min(share, 1.0), settings.restarts)


def _constant(share: float, restarts: int) -> float:  # noqa: ARG001 - one signature for all
    return 1.0


def _linear(share: float, restarts: int) -> float:  # noqa: ARG001
    return 1.0 - share


def _cosine(share: float, restarts: int) -> float:  # noqa: ARG001
    """Source: Loshchilov and Hutter 2016, https://arxiv.org/abs/1608.03983, equation 5."""
    return 0.5 * (1 + math.cos(math.pi * share))


def _cosine_with_restarts(share: float, restarts: int) -> float:
    """`restarts` cosines one after the other, all of the same length."""
    return _cosine(math.fmod(share * restarts, 1.0) if share < 1 else 1.0, 1)


SCHEDULES: dict[str, Callable[[float, int], float]] = {
    "constant": _constant,
    "cosine": _cosine,
    "cosine-with-restarts": _cosine_with_restarts,
    "linear": _linear,
}
