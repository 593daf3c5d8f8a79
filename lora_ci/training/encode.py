"""Encodes what the cache has not.

Pictures and captions are encoded one by one. In batches a latent's last bits depend on what it is
encoded with, and adapters could not be made again byte for byte; nor is it slower on a CPU.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias, TypeVar

import torch

from lora_ci.core.buckets import View
from lora_ci.core.errors import InputError
from lora_ci.diffusion.conditioning import encode_texts
from lora_ci.diffusion.latents import encode_pictures
from lora_ci.diffusion.load import BaseModel
from lora_ci.diffusion.memory import is_out_of_memory
from lora_ci.training.data import Sample
from lora_ci.training.memory import no_memory
from lora_ci.training.pictures import load_views
from lora_ci.training.shelf import Shelf

# Called with done, total and what; may raise to stop.
Told: TypeAlias = Callable[[int, int, str], None]
# A sample with the views of it that are wanted, all of one bucket.
Wanted: TypeAlias = tuple[Sample, Sequence[View]]
Loaded: TypeAlias = tuple[Sample, Sequence[View], list[torch.Tensor]]

Thing = TypeVar("Thing")

# Threads that decode pictures while the VAE works; each holds one decoded picture.
DECODERS = min(4, os.cpu_count() or 1)


def encode_views(
    shelf: Shelf, model: BaseModel, wanted: Sequence[Wanted], told: Told, begin: float = 0.0
) -> int:
    """Encodes the views that the shelf has not; how many.

    Processes that need the same share the work by themselves: each begins elsewhere, at the share
    `begin` of the list, and passes over what another has made meanwhile.

    Raises:
        InputError: a picture cannot be decoded, or its latents are no numbers.
        InfrastructureError: memory is too little for one picture.
        OSError: the disk of the cache is full.
    """
    missing = [(sample, shelf.missing_views(sample, views)) for sample, views in wanted]
    missing = _from([(sample, views) for sample, views in missing if views], begin)
    done = len(wanted) - len(missing)
    told(done, len(wanted), "pictures encoded")
    made = 0
    for number, (sample, views, pixels) in enumerate(_decoded(missing), done):
        told(number, len(wanted), "pictures encoded")
        for view, one in zip(views, pixels, strict=True):
            if shelf.missing_views(sample, [view]):
                shelf.put_latents(sample, view, _latents(model, sample, one))
                made += 1
    return made


def encode_captions(
    shelf: Shelf, model: BaseModel, captions: Sequence[str], told: Told, begin: float = 0.0
) -> int:
    """Encodes the captions that the shelf has not, in the same way; how many. Raises OSError."""
    missing = _from(shelf.missing_texts(captions), begin)
    made = 0
    for number, caption in enumerate(missing):
        told(len(captions) - len(missing) + number, len(captions), "captions encoded")
        if shelf.missing_texts([caption]):
            with torch.no_grad():
                shelf.put_text(caption, encode_texts(model, [caption]))
            made += 1
    return made


def _from(things: list[Thing], begin: float) -> list[Thing]:
    """The same things, but those before the share `begin` come last."""
    first = int(begin * len(things))
    return things[first:] + things[:first]


def _decoded(wanted: Iterable[Wanted]) -> Iterator[Loaded]:
    """The pixels of the views, decoded a few pictures ahead."""
    ahead: deque[tuple[Sample, Sequence[View], Future[list[torch.Tensor]]]] = deque()
    with ThreadPoolExecutor(DECODERS) as threads:
        for sample, views in wanted:
            ahead.append((sample, views, threads.submit(load_views, sample, views)))
            if len(ahead) > DECODERS:
                first, its, pixels = ahead.popleft()
                yield first, its, pixels.result()
        for first, its, pixels in ahead:
            yield first, its, pixels.result()


def _latents(model: BaseModel, sample: Sample, pixels: torch.Tensor) -> torch.Tensor:
    """Latents [c, h, w] of pixels [3, H, W], float32 on the CPU."""
    try:
        latents = encode_pictures(model, pixels[None])[0].float().cpu().contiguous()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        size = f"{pixels.shape[2]} × {pixels.shape[1]}"
        raise no_memory(f"one picture of {size} pixels is too much for the VAE") from error
    if not torch.isfinite(latents).all():
        raise InputError(
            f"{sample.name}: the base model's VAE makes no finite latents of it",
            hint="next: save the picture anew; if all are refused, the VAE is damaged",
        )
    return latents
