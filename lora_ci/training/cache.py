"""Latents and text embeddings by content: made once, shared by LoRAs and runs."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from lora_ci.diffusion.generate import embed_texts
from lora_ci.diffusion.load import BaseModel
from lora_ci.training.data import Sample, load_pixels

VERSION = 1


def cached_latents(
    model: BaseModel, samples: list[Sample], resolution: int, *, flip: bool, cache: Path, base: str
) -> torch.Tensor:
    """Scaled latents, [n, 1 or 2 (mirrored), channels, h, w], float32 on the CPU.

    The mode of the posterior is taken: a fixed latent for an image, whatever the seed.
    """

    def encode(sample: Sample) -> torch.Tensor:
        pixels = load_pixels(sample.path, resolution)[None]
        views = torch.cat([pixels, pixels.flip(-1)]) if flip else pixels
        with torch.no_grad():
            posterior = model.vae.encode(views.to(model.vae.device, model.vae.dtype)).latent_dist
        return (posterior.mode() * model.vae.config.scaling_factor).float().cpu()

    kind = ["latents", base, str(resolution), str(flip)]
    return torch.stack([_cached(cache, [*kind, s.sha256], partial(encode, s)) for s in samples])


def cached_captions(
    model: BaseModel, captions: list[str], *, cache: Path, base: str
) -> torch.Tensor:
    """Text embeddings, [n, tokens, width], float32 on the CPU."""

    def encode(caption: str) -> torch.Tensor:
        return embed_texts(model, [caption])[0].float().cpu()

    return torch.stack(
        [_cached(cache, ["caption", base, text], partial(encode, text)) for text in captions]
    )


def _cached(cache: Path, key: list[str], make: Callable[[], torch.Tensor]) -> torch.Tensor:
    digest = hashlib.sha256("\0".join([str(VERSION), *key]).encode()).hexdigest()
    path = cache / key[0] / digest[:2] / f"{digest[2:]}.safetensors"
    try:
        return load_file(path)["value"]
    except (OSError, SafetensorError):
        value = make().contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    save_file({"value": value}, temporary)
    temporary.replace(path)
    return value
