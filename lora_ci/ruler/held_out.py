"""The denoising loss on held-out pictures, at fixed noise and times: what no embedder can mistake.

Two adapters are compared picture by picture on the very same noise, so small differences show.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lora_ci.diffusion.generate import embed_texts
from lora_ci.diffusion.load import BaseModel
from lora_ci.diffusion.objective import add_noise, target
from lora_ci.ruler.references import Reference

TIMES = 8
NOISE_SEED = 0


def held_out_losses(
    model: BaseModel, references: Sequence[Reference], trigger: str
) -> NDArray[np.float64]:
    """Mean loss of each picture over eight times, [references]; with whatever is attached.

    A picture without a caption is described by the trigger.
    """
    alphas = model.scheduler.alphas_cumprod
    steps = torch.linspace(0, len(alphas) - 1, TIMES + 2)[1:-1].round().long()
    source = torch.Generator().manual_seed(NOISE_SEED)
    losses = []
    for reference in references:
        pixels = torch.from_numpy(reference.picture.copy()).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            posterior = model.vae.encode((pixels / 127.5 - 1).to(model.vae.dtype)).latent_dist
            x = posterior.mode() * model.vae.config.scaling_factor
            x = x.expand(TIMES, -1, -1, -1)
            noise = torch.randn(x.shape, generator=source).to(x.dtype)
            alpha = alphas[steps].view(-1, 1, 1, 1).to(x.dtype)
            text = embed_texts(model, [reference.caption or trigger]).expand(TIMES, -1, -1)
            out = model.unet(add_noise(x, noise, alpha), steps, encoder_hidden_states=text).sample
            error = (out - target(model, x, noise, alpha)).float().square().mean()
        losses.append(float(error))
    return np.array(losses)
