"""One call of a denoiser, alike for all families.

Shapes: b batch, c latent channels, h and w latent sides.
"""

from __future__ import annotations

import torch

from lora_ci.diffusion.conditioning import Conditioning
from lora_ci.diffusion.load import BaseModel

# What FLUX.1-dev is told while it is taught: guidance is distilled into it, 1 is none.
TAUGHT_GUIDANCE = 1.0


def denoise(
    model: BaseModel,
    noisy: torch.Tensor,
    times: torch.Tensor,
    conditioning: Conditioning,
    *,
    guidance: float = TAUGHT_GUIDANCE,
) -> torch.Tensor:
    """The prediction for noisy [b, c, h, w] at times [b], in the objective's terms, same shape.

    `guidance` is for models that guidance was distilled into; others do not look at it.
    """
    match model.family.name:
        case "flux":
            return _flux(model, noisy, times, conditioning, guidance)
        case "sdxl":
            added = {"text_embeds": conditioning.pooled, "time_ids": conditioning.sizes}
            out = model.denoiser(noisy, times, conditioning.tokens, added_cond_kwargs=added)
        case _:
            out = model.denoiser(noisy, times, conditioning.tokens)
    prediction: torch.Tensor = out.sample
    return prediction


def _flux(
    model: BaseModel,
    noisy: torch.Tensor,
    times: torch.Tensor,
    conditioning: Conditioning,
    guidance: float,
) -> torch.Tensor:
    """FLUX sees tokens of 2 × 2 latents, and where each lies."""
    b, c, h, w = noisy.shape
    tokens = noisy.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5)
    places = torch.zeros(h // 2, w // 2, 3, device=noisy.device, dtype=noisy.dtype)
    places[..., 1] = torch.arange(h // 2, device=noisy.device)[:, None]
    places[..., 2] = torch.arange(w // 2, device=noisy.device)[None, :]
    guided = torch.full((b,), guidance, device=noisy.device)
    out = model.denoiser(
        hidden_states=tokens.reshape(b, (h // 2) * (w // 2), c * 4),
        timestep=times.to(noisy),
        guidance=guided if model.denoiser.config.guidance_embeds else None,
        pooled_projections=conditioning.pooled,
        encoder_hidden_states=conditioning.tokens,
        txt_ids=torch.zeros(conditioning.tokens.shape[1], 3).to(noisy),
        img_ids=places.view(-1, 3),
    ).sample
    latents: torch.Tensor = out.view(b, h // 2, w // 2, c, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return latents.reshape(b, c, h, w)
