"""A loss that is no number any more: who is it, and why may it be?"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lora_ci.core.errors import InputError
from lora_ci.core.settings import TrainSettings


def diverged(
    step: int, losses: Sequence[float], names: Sequence[str], settings: TrainSettings
) -> InputError:
    """The end of a training at step number `step` (from 1), with the batch's losses [b]."""
    bad = [name for name, loss in zip(names, losses, strict=True) if not math.isfinite(loss)]
    message = f"the loss is no number any more at step {step}"
    if bad and len(bad) < len(names):
        message += f", for {', '.join(bad)} alone"
        hint = "look at it: a picture of one color, or a damaged one, can do this; then set a "
        return _ended(message, hint + f"{_rate(settings)} if it is a good one")
    if step == 1:
        hint = f"nothing was learned before it: look at train.alpha ({settings.alpha:g}), at the "
        hint += "base model and at the pictures"
        return _ended(message, hint + _reach(settings))
    return _ended(message, _likely(settings))


def diverged_in_validation(step: int, settings: TrainSettings) -> InputError:
    """The end of a training whose weights after `step` steps make no numbers of what is held out.

    After the last step nothing else would tell.
    """
    message = f"the loss on held-out pictures is no number any more after step {step}"
    return _ended(message, _likely(settings))


def _ended(message: str, hint: str) -> InputError:
    return InputError(message, rule="train.diverged", hint=hint)


def _likely(settings: TrainSettings) -> str:
    return f"likely the learning rate: set a {_rate(settings)}{_reach(settings)}"


def _reach(settings: TrainSettings) -> str:
    if settings.precision != "fp16":
        return ""
    return ", or train.precision bf16 or fp32, which reach farther than fp16"


def _rate(settings: TrainSettings) -> str:
    if settings.optimizer == "prodigy":
        return "lower train.max_grad_norm (Prodigy finds its rate by itself)"
    return f"train.learning_rate lower than {settings.learning_rate:g}; try a tenth of it"
