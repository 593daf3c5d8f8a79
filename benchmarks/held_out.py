"""One ruler for what any trainer made: the loss on pictures that it never saw.

Pictures, noise and times are the same for all adapters that are measured.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.worlds import World
from lora_ci.diffusion.attach import attach, detach
from lora_ci.diffusion.conditioning import Conditioning, encode_texts, sizes_of
from lora_ci.diffusion.denoise import denoise
from lora_ci.diffusion.latents import encode_pictures
from lora_ci.diffusion.load import BaseModel, load_base
from lora_ci.diffusion.objective import objective_of

SEED = 12345
# Times a picture is measured at.
TIMES = 8


def held_out_losses(world: World, adapters: Iterable[Path], gamma: float) -> tuple[float, ...]:
    """The mean weighted loss of the base alone, then with each adapter."""
    torch.set_num_threads(1)
    model = load_base(world.base)
    latents, conditioning = read_held_out(model, world)
    losses = [loss(model, latents, conditioning, gamma)]
    for path in adapters:
        attached = attach(model, path)
        losses.append(loss(model, latents, conditioning, gamma))
        detach(attached)
    return tuple(losses)


def read_held_out(model: BaseModel, world: World) -> tuple[torch.Tensor, Conditioning]:
    """Latents and conditioning of the pictures held out."""
    latents, texts = [], []
    for path in sorted(world.held_out.glob("*.png")):
        with Image.open(path) as picture:
            pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 127.5 - 1
        latents.append(encode_pictures(model, pixels[None]))
        texts.append(path.with_suffix(".txt").read_text().strip())
    with torch.no_grad():
        told = encode_texts(model, texts)
    sizes = None
    if model.family.name == "sdxl":
        side = (world.resolution, world.resolution)
        sizes = sizes_of(side, (0, 0), side).expand(len(texts), -1)
    return torch.cat(latents), Conditioning(tokens=told.tokens, pooled=told.pooled, sizes=sizes)


def loss(
    model: BaseModel, latents: torch.Tensor, conditioning: Conditioning, gamma: float
) -> float:
    """The mean over all pictures and times, weighted as both trainings weigh."""
    objective, source, total = objective_of(model), torch.Generator().manual_seed(SEED), 0.0
    for time in objective.even_times(TIMES):
        times = time.expand(len(latents))
        noise = torch.randn(latents.shape, generator=source)
        noisy = objective.add_noise(latents, noise, times)
        with torch.no_grad():
            out = denoise(model, noisy, times, conditioning)
        error = (out - objective.target(latents, noise, times)).square().mean(dim=(1, 2, 3))
        total += (objective.loss_weight(times, gamma) * error).mean().item()
    return total / TIMES
