"""What steps are given: encoded before, or when a step first asks for it.

Encoded when asked for, the first step is not held up by pictures that come an epoch later; the VAE
and the text encoders then stay in memory until all is encoded once. The bytes are the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch

from lora_ci.core.buckets import View
from lora_ci.diffusion.conditioning import Conditioning
from lora_ci.diffusion.load import BaseModel
from lora_ci.training.data import Sample
from lora_ci.training.encode import Told, Wanted, encode_captions, encode_views
from lora_ci.training.shelf import Shelf

# A view of a picture with these bytes.
Key: TypeAlias = tuple[str, View]


@dataclass(slots=True, kw_only=True, eq=False)
class Supply:
    """Latents and texts from the shelf, encoded by `model` if need be.

    `views` and `captions` are those that still must be; `settled` is called whenever the last of
    either is encoded. `made_views` and `made_captions` count what was not in the cache.
    """

    shelf: Shelf
    model: BaseModel
    settled: Callable[[], None] = lambda: None
    views: set[Key] = field(default_factory=set)
    captions: set[str] = field(default_factory=set)
    made_views: int = 0
    made_captions: int = 0

    def encode(
        self, wanted: Sequence[Wanted], captions: Sequence[str], told: Told, begin: float = 0.0
    ) -> None:
        """Encodes all of it now, as `encode_views` and `encode_captions` do."""
        self.made_views += encode_views(self.shelf, self.model, wanted, told, begin)
        self.made_captions += encode_captions(self.shelf, self.model, captions, told, begin)

    def put_off(self, wanted: Sequence[Wanted], captions: Sequence[str]) -> None:
        """Leaves what the shelf has not until it is asked for."""
        self.views = {
            (sample.sha256, view)
            for sample, views in wanted
            for view in self.shelf.missing_views(sample, views)
        }
        self.captions = set(self.shelf.missing_texts(captions))

    def latents(self, sample: Sample, view: View) -> torch.Tensor:
        """Latents [c, h, w] of a picture's view, float32. Raises as `encode_views` does."""
        key = (sample.sha256, view)
        if key in self.views:
            self.encode([(sample, [view])], [], _silent)
            self.views.remove(key)
            if not self.views:
                self.settled()
        return self.shelf.latents(sample, view)

    def text(self, caption: str) -> Conditioning:
        """The encoded caption, a batch of one, in the encoders' precision."""
        if caption in self.captions:
            self.encode([], [caption], _silent)
            self.captions.remove(caption)
            if not self.captions:
                self.settled()
        return self.shelf.text(caption)


def encoders_may_stay(model: BaseModel) -> bool:
    """True where all parts of the base take at most half of the device's memory.

    The other half is enough for what a training needs, with or without the encoders beside it.
    """
    parts = (model.folder / part for part in model.family.parts)
    weights = sum(file.stat().st_size for part in parts for file in part.glob("*.safetensors"))
    if model.device.type == "cuda":
        memory = int(torch.cuda.mem_get_info(model.device)[1])
    else:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 2 * weights <= memory


def _silent(*_: object) -> None:
    """Who asks for one thing at a time shows steps."""
