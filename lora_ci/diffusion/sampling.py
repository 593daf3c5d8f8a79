"""From noise to latents: DDIM with classifier-free guidance, or Euler along a flow.

The steps are those of diffusers' pipelines, in float32 whatever the denoiser computes in. Shapes:
b batch, c latent channels, h and w latent sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lora_ci.diffusion.conditioning import Conditioning, cat
from lora_ci.diffusion.denoise import TAUGHT_GUIDANCE, denoise
from lora_ci.diffusion.load import BaseModel
from lora_ci.diffusion.memory import Memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How latents are made. `rescale` and a guidance of texts are for diffusion alone."""

    steps: int
    guidance: float
    memory: Memory
    rescale: float = 0.0

    def needs_negative(self, model: BaseModel) -> bool:
        """Whether each step asks the denoiser a second time, with the negative texts."""
        return model.family.objective == "noise" and self.guidance > 1


def sample(
    model: BaseModel,
    noise: torch.Tensor,
    wanted: Conditioning,
    unwanted: Conditioning | None,
    how: Sampling,
) -> torch.Tensor:
    """Latents [b, c, h, w], float32, of such noise; `unwanted` where the sampling needs it.

    Raises OutOfMemory.
    """
    if model.family.objective == "flow":
        return _flow(model, noise, wanted, how)
    return _diffusion(model, noise, wanted, unwanted, how)


def _diffusion(
    model: BaseModel,
    latents: torch.Tensor,
    wanted: Conditioning,
    unwanted: Conditioning | None,
    how: Sampling,
) -> torch.Tensor:
    """As StableDiffusionPipeline and StableDiffusionXLPipeline with a DDIM scheduler."""
    from diffusers import DDIMScheduler

    both = wanted if unwanted is None else cat([unwanted, wanted])
    # One set of steps a batch: the model's own scheduler keeps no state of ours.
    scheduler: Any = DDIMScheduler.from_config(model.scheduler.config)
    scheduler.set_timesteps(how.steps, device=model.device)
    for t in scheduler.timesteps:
        pair = latents if unwanted is None else torch.cat([latents, latents])
        out = predict(model, pair, t.expand(len(pair)), both, how.memory)
        if unwanted is not None:
            unconditional, conditional = out.chunk(2)
            out = guide(conditional, unconditional, how.guidance, how.rescale)
        latents = scheduler.step(out, t, latents).prev_sample
    return latents


def _flow(
    model: BaseModel,
    latents: torch.Tensor,
    conditioning: Conditioning,
    how: Sampling,
) -> torch.Tensor:
    """As FluxPipeline: guidance is an input of the model, which asks for no second call."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler: Any = FlowMatchEulerDiscreteScheduler.from_config(model.scheduler.config)
    tokens = latents.shape[2] * latents.shape[3] // model.family.patch**2
    scheduler.set_timesteps(
        sigmas=np.linspace(1.0, 1 / how.steps, how.steps),
        mu=time_shift(scheduler.config, tokens),
        device=model.device,
    )
    for t in scheduler.timesteps:
        times = t.expand(len(latents)) / scheduler.config.num_train_timesteps
        out = predict(model, latents, times, conditioning, how.memory, guidance=how.guidance)
        latents = scheduler.step(out, t, latents).prev_sample
    return latents


def predict(
    model: BaseModel,
    noisy: torch.Tensor,
    times: torch.Tensor,
    conditioning: Conditioning,
    memory: Memory,
    *,
    guidance: float = TAUGHT_GUIDANCE,
) -> torch.Tensor:
    """What the denoiser says to noisy [b, c, h, w] at times [b], float32, as memory allows.

    Raises OutOfMemory.
    """

    def rows(part: slice) -> torch.Tensor:
        given = noisy[part].to(model.dtype)
        return denoise(model, given, times[part], conditioning.rows(part), guidance=guidance)

    return memory.denoised(model, len(noisy), rows).float()


def time_shift(config: Any, tokens: int) -> float:
    """How far times move towards noise for a picture of so many tokens.

    Linear in the tokens, through two points that the scheduler's config names.
    Source: Esser et al. 2024, https://arxiv.org/abs/2403.03206, section 5.3.2; FLUX's constants.
    """
    few, many = config.base_image_seq_len, config.max_image_seq_len
    share = (tokens - few) / (many - few)
    return float(config.base_shift + share * (config.max_shift - config.base_shift))


def guide(
    conditional: torch.Tensor, unconditional: torch.Tensor, scale: float, rescale: float
) -> torch.Tensor:
    """Classifier-free guidance, rescaled to the conditional's deviation.

    Source: arXiv:2207.12598 equation 6; rescale: arXiv:2305.08891 section 3.4.
    """
    out = unconditional + scale * (conditional - unconditional)
    if rescale == 0:
        return out
    sides = list(range(1, out.ndim))
    ratio = conditional.std(dim=sides, keepdim=True) / out.std(dim=sides, keepdim=True)
    return rescale * out * ratio + (1 - rescale) * out
