"""Pictures to latents and back.

Shapes: b batch, c latent channels, h and w latent sides, H and W sides in pixels.
"""

from __future__ import annotations

import torch

from lora_ci.diffusion.load import BaseModel


def encode_pictures(model: BaseModel, pixels: torch.Tensor) -> torch.Tensor:
    """Scaled and shifted latents [b, c, h, w] of pixels [b, 3, H, W] in [-1, 1].

    The mode of the posterior is taken: a fixed latent for a picture, whatever the seed.
    """
    vae = model.vae
    with torch.no_grad():
        latents = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode()
    # SD's VAEs have no shift.
    shifted: torch.Tensor = (latents - (vae.config.shift_factor or 0)) * vae.config.scaling_factor
    return shifted


def decode_latents(model: BaseModel, latents: torch.Tensor) -> torch.Tensor:
    """Pixels [b, 3, H, W], about [-1, 1], of latents [b, c, h, w]."""
    vae = model.vae
    unscaled = latents.to(vae.device, vae.dtype) / vae.config.scaling_factor
    with torch.no_grad():
        pixels: torch.Tensor = vae.decode(unscaled + (vae.config.shift_factor or 0)).sample
    return pixels
