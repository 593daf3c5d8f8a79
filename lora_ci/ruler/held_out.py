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
from lora_ci.diffusion.latents import encode_pictures
from lora_ci.diffusion.load import BaseModel
from lora_ci.diffusion.memory import Memory
from lora_ci.diffusion.objective import objective_of
from lora_ci.diffusion.sampling import predict
from lora_ci.ruler.references import Reference

TIMES = 8
NOISE_SEED = 0


def held_out_losses(
    model: BaseModel, references: Sequence[Reference], trigger: str, memory: Memory
) -> NDArray[np.float64]:
    """Mean loss of each picture over eight times, [references]; with whatever is attached.

    A picture without a caption is described by the trigger. The loss is computed in float32,
    whatever the base's precision is.

    Raises OutOfMemory.
    """
    objective = objective_of(model)
    times = objective.even_times(TIMES).to(model.device)
    source = torch.Generator().manual_seed(NOISE_SEED)
    losses = []
    for reference in references:
        pixels = torch.from_numpy(reference.picture.copy()).permute(2, 0, 1)[None].float()
        with torch.no_grad():
            x = _latents(model, pixels / 127.5 - 1, memory).expand(TIMES, -1, -1, -1)
            noise = torch.randn(x.shape, generator=source).to(x)
            told = encode_texts(model, [reference.caption or trigger])
            side = reference.picture.shape[0], reference.picture.shape[1]
            told = replace(told, sizes=sizes_of(side, (0, 0), side).to(model.device))
            rows = torch.zeros(TIMES, dtype=torch.long)
            noisy = objective.add_noise(x, noise, times)
            out = predict(model, noisy, times, told.rows(rows), memory)
            error = (out - objective.target(x, noise, times)).square().mean()
        losses.append(float(error))
    return np.array(losses)


def _latents(model: BaseModel, pixels: torch.Tensor, memory: Memory) -> torch.Tensor:
    """Latents [1, c, h, w] of pixels [1, 3, H, W], float32, where the denoiser is."""
    latents = memory.coded(model, 1, lambda part: encode_pictures(model, pixels[part]))
    return latents.to(model.device, torch.float32)
