"""The denoising loss on held-out pictures, at fixed noise and times: what no embedder can mistake.

Two adapters are compared picture by picture on the very same noise, so small differences show.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from lora_ci.diffusion.conditioning import encode_texts, sizes_of
from lora_ci.diffusion.denoise import denoise
from lora_ci.diffusion.latents import encode_pictures
from lora_ci.diffusion.load import BaseModel
from lora_ci.diffusion.objective import objective_of
from lora_ci.ruler.references import Reference

TIMES = 8
NOISE_SEED = 0


def held_out_losses(
    model: BaseModel, references: Sequence[Reference], trigger: str
) -> NDArray[np.float64]:
    """Mean loss of each picture over eight times, [references]; with whatever is attached.

    A picture without a caption is described by the trigger.
    """
    objective = objective_of(model)
    times = objective.even_times(TIMES).to(model.device)
    source = torch.Generator().manual_seed(NOISE_SEED)
    losses = []
    for reference in references:
        pixels = torch.from_numpy(reference.picture.copy()).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            x = encode_pictures(model, pixels / 127.5 - 1).to(model.denoiser.dtype)
            x = x.expand(TIMES, -1, -1, -1)
            noise = torch.randn(x.shape, generator=source).to(x)
            told = encode_texts(model, [reference.caption or trigger])
            side = reference.picture.shape[0], reference.picture.shape[1]
            told = replace(told, sizes=sizes_of(side, (0, 0), side).to(model.device))
            rows = torch.zeros(TIMES, dtype=torch.long)
            out = denoise(model, objective.add_noise(x, noise, times), times, told.rows(rows))
            error = (out - objective.target(x, noise, times)).float().square().mean()
        losses.append(float(error))
    return np.array(losses)
