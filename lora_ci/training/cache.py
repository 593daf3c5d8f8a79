"""Latents and text embeddings by content: made once, shared by LoRAs and runs."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from lora_ci.diffusion.conditioning import encode_texts
from lora_ci.diffusion.latents import encode_pictures
from lora_ci.diffusion.load import BaseModel
from lora_ci.training.data import Sample, load_pixels
from lora_ci.training.tensors import save_tensors

VERSION = 1


# Called with done, total and what; may raise to stop.
Told = Callable[[int, int, str], None]


def cached_latents(
    model: BaseModel,
    samples: list[Sample],
    resolution: int,
    *,
    flip: bool,
    cache: Path,
    base: str,
    told: Told = lambda *_: None,
) -> torch.Tensor:
    """Scaled latents, [n, 1 or 2 (mirrored), channels, h, w], float32 on the CPU.

    The mode of the posterior is taken: a fixed latent for an image, whatever the seed.
    """

    def encode(sample: Sample) -> torch.Tensor:
        pixels = load_pixels(sample.path, resolution)[None]
        views = torch.cat([pixels, pixels.flip(-1)]) if flip else pixels
        return encode_pictures(model, views).float().cpu()

    kind = ["latents", base, str(resolution), str(flip)]
    latents = []
    for done, sample in enumerate(samples):
        told(done, len(samples), "pictures encoded")
        latents.append(_cached(cache, [*kind, sample.sha256], partial(encode, sample)))
    return torch.stack(latents)


def cached_captions(
    model: BaseModel, captions: list[str], *, cache: Path, base: str, told: Told = lambda *_: None
) -> torch.Tensor:
    """Text embeddings, [n, tokens, width], float32 on the CPU."""

    def encode(caption: str) -> torch.Tensor:
        with torch.no_grad():
            return encode_texts(model, [caption]).tokens[0].float().cpu()

    embeddings = []
    for done, text in enumerate(captions):
        told(done, len(captions), "captions encoded")
        embeddings.append(_cached(cache, ["caption", base, text], partial(encode, text)))
    return torch.stack(embeddings)


def _cached(cache: Path, key: list[str], make: Callable[[], torch.Tensor]) -> torch.Tensor:
    digest = hashlib.sha256("\0".join([str(VERSION), *key]).encode()).hexdigest()
    path = cache / key[0] / digest[:2] / f"{digest[2:]}.safetensors"
    try:
        return load_file(path)["value"]
    except (OSError, SafetensorError):
        value = make().contiguous()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_tensors(path, {"value": value})
    return value
