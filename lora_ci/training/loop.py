"""The training loop, top to bottom.

Shapes: b batch, c latent channels, h and w latent size, t tokens, d text width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from peft import LoraConfig

from lora_ci.core.errors import InputError, Interrupted
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.settings import TrainSettings
from lora_ci.diffusion.conditioning import Conditioning
from lora_ci.diffusion.denoise import denoise
from lora_ci.diffusion.load import BaseModel
from lora_ci.diffusion.objective import objective_of
from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from lora_ci.training.draws import draw_step

NAME = "lora"
LOSS_WINDOW = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What is trained on: latents [n, views, c, h, w], captions [n, t, d], empty caption [t, d].

    `order` [m] are the samples of one epoch, each as often as it counts.
    """

    latents: torch.Tensor
    captions: torch.Tensor
    empty: torch.Tensor
    order: torch.Tensor


@dataclass(slots=True, kw_only=True)
class State:
    """What changes from step to step: `step` are done, `window` waits to become a mean loss."""

    parameters: dict[str, torch.nn.Parameter]
    optimizer: torch.optim.Optimizer
    step: int = 0
    losses: list[tuple[int, float]] = field(default_factory=list)
    window: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The adapter, and the mean loss of every ten steps as (step, loss).

    `steps_here` of the `steps` were taken by this process; the others stood in a checkpoint.
    """

    adapter: Adapter
    losses: list[tuple[int, float]]
    steps: int
    steps_here: int


def train(
    model: BaseModel,
    material: Material,
    settings: TrainSettings,
    *,
    folder: Path,
    fingerprint: str,
    progress: Callable[[int, int, str], None],
    stop: Callable[[], bool],
) -> Trained:
    """Trains on from the newest checkpoint in `folder`.

    Raises:
        InputError: the loss is no number any more.
        Interrupted: `stop` said so; a checkpoint was written first.
    """
    device, objective = model.device, objective_of(model)
    parameters = add_lora(model, settings)
    optimizer = torch.optim.AdamW(
        parameters.values(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    latents = material.latents.to(device)
    captions, empty = material.captions.to(device), material.empty.to(device)
    total = settings.total_steps(len(material.order))
    state = State(parameters=parameters, optimizer=optimizer)
    restore(folder, fingerprint, state)
    resumed = state.step

    for step in range(resumed, total):
        draw = draw_step(
            settings.seed,
            step,
            count=len(material.order),
            batch=settings.batch_size,
            timesteps=model.scheduler.config.num_train_timesteps,
            shape=tuple(latents.shape[2:]),
            dropout=settings.caption_dropout,
        )
        samples = material.order[draw.samples]
        view = draw.mirrored.long() if latents.shape[1] == 2 else torch.zeros_like(samples)
        x = latents[samples, view]
        text = torch.where(draw.dropped.to(device)[:, None, None], empty, captions[samples])
        noise, t = draw.noise.to(device), draw.timesteps.to(device)
        noisy = objective.add_noise(x, noise, t)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            out = denoise(model, noisy, t, Conditioning(tokens=text))
        error = (out.float() - objective.target(x, noise, t)).square().mean(dim=(1, 2, 3))
        loss = (objective.loss_weight(t, settings.min_snr_gamma) * error).mean()

        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters.values(), settings.max_grad_norm)
        if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
            raise diverged(step, settings)
        optimizer.param_groups[0]["lr"] = rate(step, total, settings)
        optimizer.step()

        state.step = step + 1
        state.window.append(loss.item())
        if state.step % LOSS_WINDOW == 0 or state.step == total:
            state.losses.append((state.step, sum(state.window) / len(state.window)))
            state.window = []
        shown = state.losses[-1][1] if state.losses else loss.item()
        progress(state.step, total, f"loss {shown:.4f}")
        stopping = state.step < total and stop()
        if stopping or (state.step % settings.checkpoint_every == 0 and state.step < total):
            save(folder, fingerprint, state)
        if stopping:
            raise Interrupted(f"stopped after step {step + 1} of {total}; a checkpoint is kept")

    return Trained(
        adapter=as_adapter(model, settings),
        losses=state.losses,
        steps=total,
        steps_here=total - resumed,
    )


def add_lora(model: BaseModel, settings: TrainSettings) -> dict[str, torch.nn.Parameter]:
    """Puts fresh LoRA layers on the denoiser; returns their parameters by name, sorted."""
    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, target_modules=list(model.family.attention)
    )
    # peft draws from the global source: seeded for it, then put back.
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        model.denoiser.add_adapter(config, adapter_name=NAME)
    named = sorted(model.denoiser.named_parameters())
    parameters = {name: p for name, p in named if f".{NAME}." in name}
    for parameter in parameters.values():
        parameter.data = parameter.data.float()
        parameter.requires_grad_(True)
    return parameters


def rate(step: int, total: int, settings: TrainSettings) -> float:
    """The learning rate of a step."""
    if step < settings.warmup_steps:
        return settings.learning_rate * (step + 1) / settings.warmup_steps
    if settings.schedule == "constant":
        return settings.learning_rate
    share = (step - settings.warmup_steps) / max(1, total - settings.warmup_steps)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def save(folder: Path, fingerprint: str, state: State) -> None:
    """Writes weights and AdamW moments."""
    tensors = {}
    for name, parameter in state.parameters.items():
        tensors[f"weight/{name}"] = parameter.detach().cpu().contiguous()
        for key, value in state.optimizer.state[parameter].items():
            tensors[f"{key}/{name}"] = value.detach().cpu().contiguous()
    checkpoint = Checkpoint(
        step=state.step, losses=state.losses, window=state.window, tensors=tensors
    )
    save_checkpoint(folder, fingerprint, checkpoint)


def restore(folder: Path, fingerprint: str, state: State) -> None:
    """Puts the newest checkpoint in place, if there is one."""
    checkpoint = load_checkpoint(folder, fingerprint)
    if checkpoint is None:
        return
    for name, parameter in state.parameters.items():
        parameter.data.copy_(checkpoint.tensors[f"weight/{name}"])
        state.optimizer.state[parameter] = {
            key: checkpoint.tensors[f"{key}/{name}"].to(
                "cpu" if key == "step" else parameter.device
            )
            for key in ("step", "exp_avg", "exp_avg_sq")
        }
    state.step, state.losses = checkpoint.step, checkpoint.losses
    state.window = checkpoint.window


def as_adapter(model: BaseModel, settings: TrainSettings) -> Adapter:
    """The trained layers as a value."""
    layers = {}
    for name, module in model.denoiser.named_modules():
        if NAME in getattr(module, "lora_A", {}):
            layers[f"{model.family.denoiser}.{name}"] = LoraLayer(
                down=module.lora_A[NAME].weight.detach().cpu().clone(),
                up=module.lora_B[NAME].weight.detach().cpu().clone(),
                alpha=settings.alpha,
            )
    return Adapter(layers=dict(sorted(layers.items())))


def diverged(step: int, settings: TrainSettings) -> InputError:
    """The loss is NaN or infinite."""
    message = f"the loss is no number any more at step {step + 1}"
    rate = settings.learning_rate
    hint = f"likely the learning rate: {rate:g} is too high; try a tenth of it"
    finding = Finding(rule="train.diverged", severity=Severity.ERROR, message=message, hint=hint)
    return InputError(message, findings=(finding,))
