"""All that the tests look at, and nothing else: pictures, their features, losses, cost.

Shapes: p prompts, s seeds, d feature width, n pictures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lora_ci.diffusion.request import Picture
from lora_ci.ruler.defects import SoundRange
from lora_ci.ruler.embedder import Features
from lora_ci.ruler.likeness import Scale
from lora_ci.ruler.prompts import Prompts
from lora_ci.ruler.references import Reference
from lora_ci.ruler.seen import Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """What one maker drew: by prompt, one picture a seed, and features [s, d] of them."""

    pictures: Mapping[str, Sequence[Picture]]
    features: Mapping[str, Features]

    def of(self, prompts: Sequence[str]) -> Features:
        """Features [p, s, d] of some prompts."""
        if not prompts:
            return np.zeros((0, 0, 0), np.float32)
        return np.stack([self.features[prompt] for prompt in prompts])

    def drawn(self, prompts: Iterable[str]) -> list[Picture]:
        """The pictures of some prompts, one after the other."""
        return [picture for prompt in prompts for picture in self.pictures[prompt]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Real pictures with their features [n, d]."""

    pictures: Sequence[Reference]
    features: Features


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Denoising losses picture by picture, on the same noise for all.

    On the references: `base`, `adapter`, `half` (the adapter at half the weight; None where nobody
    asks), `released` (None where nothing is released). On as many pictures of the dataset:
    `base_trained`, `adapter_trained`, both empty where it is not there.
    """

    base: NDArray[np.float64]
    adapter: NDArray[np.float64]
    half: NDArray[np.float64] | None = None
    released: NDArray[np.float64] | None
    base_trained: NDArray[np.float64]
    adapter_trained: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What an adapter costs: seconds to attach, time with it over time without, sizes."""

    attach_s: float
    latency_ratio: float
    size_bytes: int
    size_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """Identity prompts drawn with a second adapter: beside the candidate, and alone."""

    both: Views
    other: Views


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One look. Base, adapter and strengths share prompts and seeds, so they can be paired.

    base, adapter: every prompt. released, composed: identity prompts. strengths: identity prompts
    by weight, with the first seeds alone. texts: features [d] of prompts, contexts and
    `prompts.asks`; None where the embedder knows no texts. scale: None where identity cannot be
    judged, `no_scale` says why.
    recalled: captions of training pictures, by the adapter alone and with seeds of its own number;
    None where none are asked. seen: references that are training pictures too.
    unsafe: what a scanner said of each of the adapter's pictures, in the order of `prompts.every`,
    then of those recalled; None where nothing scanned them.
    """

    prompts: Prompts
    trigger: str
    weight: float
    base: Views
    adapter: Views
    recalled: Views | None = None
    references: Shown
    training: Shown
    seen: Sequence[Seen] = ()
    sound: SoundRange
    scale: Scale | None
    no_scale: str = ""
    released: Views | None = None
    released_version: str | None = None
    strengths: Mapping[float, Views]
    composed: Composed | None = None
    texts: Mapping[str, NDArray[np.float32]] | None = None
    losses: Losses | None = None
    cost: Cost | None = None
    unsafe: Sequence[tuple[str, ...]] | None = None

    @property
    def seeds(self) -> int:
        """Pictures a prompt."""
        return len(next(iter(self.adapter.pictures.values()), ()))
