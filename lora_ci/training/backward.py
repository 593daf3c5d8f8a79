"""The gradients of one step, in as many parts as memory allows.

Shapes: b images of a batch, c latent channels, h and w latent sides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import torch

from lora_ci.core.settings import TrainSettings
from lora_ci.diffusion.conditioning import Conditioning, encode_texts
from lora_ci.diffusion.denoise import denoise
from lora_ci.diffusion.load import BaseModel
from lora_ci.diffusion.memory import is_out_of_memory
from lora_ci.diffusion.objective import Objective
from lora_ci.training.batch import Batch
from lora_ci.training.gradients import Gradients
from lora_ci.training.memory import climb
from lora_ci.training.precision import autocast
from lora_ci.training.state import State

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class Learner:
    """Computes gradients of a model whose text encoders `texts` learn too."""

    model: BaseModel
    objective: Objective
    settings: TrainSettings
    texts: tuple[str, ...]

    def backward(
        self, batch: Batch, losses: torch.Tensor, gradients: Gradients, state: State
    ) -> None:
        """Computes the gradients of the loss, a mean over the images of all GPUs.

        `losses` [b here] is filled. Where memory runs out, the state is on another rung afterwards.

        Raises:
            InfrastructureError: memory is too little on every rung.
        """
        self._with_less(state, partial(self._add_up, batch, losses, gradients, state))

    def losses(self, batch: Batch, state: State) -> torch.Tensor:
        """The loss of every image, [b], unweighted; on another rung where memory runs out.

        Raises:
            InfrastructureError: memory is too little on every rung.
        """
        return self._with_less(state, partial(self._measure, batch, state))

    def _with_less(self, state: State, compute: Callable[[], T]) -> T:
        """What is computed, tried again on the next rung as often as memory runs out."""
        while True:
            try:
                return compute()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # Outside of the handler: the error holds the frames that hold the memory.
            state.rung = climb(state.rung, self.model.device)
            self.recompute_activations()

    def _add_up(
        self, batch: Batch, losses: torch.Tensor, gradients: Gradients, state: State
    ) -> None:
        gradients.clear()
        factor = state.scale.scale / self.settings.batch_size
        for rows in state.rung.parts(len(batch.latents)):
            loss = self.row_losses(batch.rows(rows), self.settings.min_snr_gamma)
            (loss.sum() * factor).backward()
            losses[rows] = loss.detach()

    def _measure(self, batch: Batch, state: State) -> torch.Tensor:
        parts = state.rung.parts(len(batch.latents))
        return torch.cat([self.row_losses(batch.rows(rows), gamma=None) for rows in parts])

    def row_losses(self, batch: Batch, gamma: float | None) -> torch.Tensor:
        """The loss of every image, [b], weighted as the settings say."""
        device = self.model.device
        x = batch.latents.to(device, non_blocking=True)
        noise = batch.noise.to(device, non_blocking=True)
        times = batch.times.to(device, non_blocking=True)
        noisy = self.objective.add_noise(x, noise, times)
        with autocast(device, self.model.dtype):
            out = denoise(self.model, noisy, times, self._conditioning(batch))
        error = (out.float() - self.objective.target(x, noise, times)).square().mean(dim=(1, 2, 3))
        weights = batch.weights.to(device, non_blocking=True)
        return weights * self.objective.loss_weight(times, gamma) * error

    def recompute_activations(self) -> None:
        """From now on they are computed a second time on the way back: slower, less memory."""
        self.model.denoiser.enable_gradient_checkpointing()
        for name in self.texts:
            encoder = self.model.models[name]
            # What transformers calls it now, and called it before.
            old = encoder.gradient_checkpointing_enable
            getattr(encoder, "activation_checkpointing_enable", old)({"use_reentrant": False})
            # transformers does it in training mode alone, in which some models drop values.
            encoder.train()
            for module in encoder.modules():
                if isinstance(getattr(module, "dropout", None), float):
                    module.dropout = 0.0

    def _conditioning(self, batch: Batch) -> Conditioning:
        given = batch.conditioning
        if given is None:
            sizes = None if batch.sizes is None else batch.sizes.to(self.model.device)
            return replace(encode_texts(self.model, batch.captions), sizes=sizes)
        return given.to(self.model.device, torch.float32)
