"""What a diffusion model is asked to say. Shapes: b batch, c channels, h and w latent size."""

from __future__ import annotations

import torch

from lora_ci.diffusion.load import BaseModel


def add_noise(x: torch.Tensor, noise: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    """Latents at the noise level of `alpha` (cumulative product, [b, 1, 1, 1]), [b, c, h, w].

    Source: Ho et al. 2020, https://arxiv.org/abs/2006.11239, equation 4.
    """
    return alpha.sqrt() * x + (1 - alpha).sqrt() * noise


def target(
    model: BaseModel, x: torch.Tensor, noise: torch.Tensor, alpha: torch.Tensor
) -> torch.Tensor:
    """What the UNet ought to say, [b, c, h, w].

    Source: v-prediction, Salimans and Ho 2022, https://arxiv.org/abs/2202.00512, appendix D.
    """
    if model.scheduler.config.prediction_type == "v_prediction":
        return alpha.sqrt() * noise - (1 - alpha).sqrt() * x
    return noise
