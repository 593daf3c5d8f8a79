"""Optimizers by name, all of them for float32 parameters."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from lora_ci.core.errors import InfrastructureError
from lora_ci.core.settings import TrainSettings
from lora_ci.training.schedules import peak_rate, peak_text_rate, rate_factor

Groups = list[dict[str, Any]]


def make_optimizer(
    parameters: Mapping[str, torch.nn.Parameter], settings: TrainSettings
) -> torch.optim.Optimizer:
    """The optimizer; text encoders are a group with a rate of their own.

    Raises:
        InfrastructureError: its package is not installed.
    """
    rate, of_texts = peak_rate(settings), peak_text_rate(settings)
    texts = [p for name, p in parameters.items() if name.startswith("text_encoder")]
    others = [p for name, p in parameters.items() if not name.startswith("text_encoder")]
    groups = [{"params": others, "lr": rate, "peak": rate}]
    if texts:
        groups.append({"params": texts, "lr": of_texts, "peak": of_texts})
    try:
        return MAKERS[settings.optimizer](groups, settings)
    except ModuleNotFoundError as error:
        raise not_installed(settings.optimizer, error) from error


def set_rates(
    optimizer: torch.optim.Optimizer, step: int, total: int, settings: TrainSettings
) -> None:
    """Gives every group the learning rate of a step."""
    factor = rate_factor(step, total, settings)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor


def rate_now(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate of the denoiser's group; with Prodigy, times its own estimate."""
    group = optimizer.param_groups[0]
    return float(group["lr"] * group.get("d", 1.0))


def serve(optimizer: torch.optim.Optimizer) -> None:
    """Turns the parameters of schedule-free AdamW into those that are to be used.

    The way back, `train()`, rounds: who needs the very same again keeps a copy.
    """
    if hasattr(optimizer, "eval"):
        optimizer.eval()


def not_installed(name: str, error: ModuleNotFoundError) -> InfrastructureError:
    """An optimizer of a package that is not there."""
    extra = "adamw8bit" if name == "adamw8bit" else "train"
    message = f"`train.optimizer: {name}` needs the Python package `{error.name}`"
    hint = f"next: pip install 'lora-ci[{extra}]'"
    return InfrastructureError(message, rule="train.not-installed", hint=hint)


def _adamw(groups: Groups, settings: TrainSettings) -> torch.optim.Optimizer:
    fused = all(p.device.type in ("cpu", "cuda", "mps") for p in _parameters(groups))
    return torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=fused)


def _adamw8bit(groups: Groups, settings: TrainSettings) -> torch.optim.Optimizer:
    """Moments in 8 bits, but for tensors of less than 4096 numbers."""
    from bitsandbytes.optim import AdamW8bit

    optimizer: torch.optim.Optimizer = AdamW8bit(groups, weight_decay=settings.weight_decay)
    return optimizer


def _prodigy(groups: Groups, settings: TrainSettings) -> torch.optim.Optimizer:
    """Source of the choices: the authors' own for diffusion, arXiv:2306.06101."""
    from prodigyopt import Prodigy

    # It prints how the decay is applied.
    with contextlib.redirect_stdout(io.StringIO()):
        optimizer: torch.optim.Optimizer = Prodigy(
            groups,
            weight_decay=settings.weight_decay,
            use_bias_correction=True,
            safeguard_warmup=settings.warmup_steps > 0,
        )
    return optimizer


def _schedule_free(groups: Groups, settings: TrainSettings) -> torch.optim.Optimizer:
    """Warm-up comes from our schedule; the average weighs steps by the highest rate so far."""
    from schedulefree import AdamWScheduleFree

    optimizer: Any = AdamWScheduleFree(groups, weight_decay=settings.weight_decay)
    optimizer.train()
    made: torch.optim.Optimizer = optimizer
    return made


def _adafactor(groups: Groups, settings: TrainSettings) -> torch.optim.Optimizer:
    """Factored second moments, our own rate: a scale by the weights' size would be 0 at first."""
    from transformers.optimization import Adafactor

    optimizer: torch.optim.Optimizer = Adafactor(
        groups,
        weight_decay=settings.weight_decay,
        scale_parameter=False,
        relative_step=False,
        warmup_init=False,
    )
    return optimizer


def _parameters(groups: Groups) -> Iterable[torch.nn.Parameter]:
    return (parameter for group in groups for parameter in group["params"])


MAKERS: Mapping[str, Callable[[Groups, TrainSettings], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "adamw8bit": _adamw8bit,
    "prodigy": _prodigy,
    "schedule-free-adamw": _schedule_free,
    "adafactor": _adafactor,
}
