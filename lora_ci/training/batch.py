"""The pictures of one step, put together from what is encoded.

Shapes: b batch, c latent channels, h and w latent sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch

from lora_ci.core.buckets import Bucket, View
from lora_ci.diffusion.conditioning import Conditioning, cat, sizes_of
from lora_ci.training.data import Sample
from lora_ci.training.supply import Supply


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """The pictures of one step, of one bucket, on the CPU.

    latents and noise [b, c, h, w] float32, weights [b] of the losses, times [b] in the objective's
    terms; sizes [b, 6] for SDXL. `conditioning` is None where the text encoders learn: then
    `captions`, changed as chance wants, are encoded in the step. Else it has sizes too. `names`
    are the pictures', for messages.
    """

    names: tuple[str, ...]
    latents: torch.Tensor
    conditioning: Conditioning | None
    captions: tuple[str, ...]
    sizes: torch.Tensor | None
    weights: torch.Tensor
    noise: torch.Tensor
    times: torch.Tensor

    def rows(self, part: slice) -> Batch:
        """Some rows of the batch."""
        return Batch(
            names=self.names[part],
            latents=self.latents[part],
            conditioning=None if self.conditioning is None else self.conditioning.rows(part),
            captions=self.captions[part],
            sizes=None if self.sizes is None else self.sizes[part],
            weights=self.weights[part],
            noise=self.noise[part],
            times=self.times[part],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A sample as it is trained on: upright `size` (width, height), views, captions, loss weight.

    `views` and `captions` are those that chance has the choice of.
    """

    sample: Sample
    size: tuple[int, int]
    views: tuple[View, ...]
    captions: tuple[str, ...]
    weight: float = 1.0

    @property
    def bucket(self) -> Bucket:
        """The bucket of all views."""
        return self.views[0].bucket

    def sizes(self, view: View) -> torch.Tensor:
        """What SDXL is told of a view, [1, 6]."""
        wanted = self.bucket.height, self.bucket.width
        return sizes_of((self.size[1], self.size[0]), view.corner, wanted)


# One row of a batch: a picture, which view of it, and its caption.
Row: TypeAlias = tuple[Picture, View, str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reader:
    """Rows → a batch, from the supply. `sized`: the model is told sizes, `encoded`: texts are."""

    supply: Supply
    sized: bool
    encoded: bool

    def latents(self, rows: Sequence[Row]) -> torch.Tensor:
        """Latents of the rows, [b, c, h, w]."""
        return torch.stack([self.supply.latents(picture.sample, view) for picture, view, _ in rows])

    def batch(
        self, rows: Sequence[Row], latents: torch.Tensor, noise: torch.Tensor, times: torch.Tensor
    ) -> Batch:
        """The batch of the rows."""
        sizes, conditioning = None, None
        if self.sized:
            sizes = torch.cat([picture.sizes(view) for picture, view, _ in rows])
        if self.encoded:
            texts = cat([self.supply.text(caption) for _, _, caption in rows])
            conditioning = replace(texts, sizes=sizes)
        return Batch(
            names=tuple(picture.sample.name for picture, _, _ in rows),
            latents=latents,
            conditioning=conditioning,
            captions=tuple(caption for _, _, caption in rows),
            sizes=sizes,
            weights=torch.tensor([picture.weight for picture, _, _ in rows]),
            noise=noise,
            times=times,
        )
