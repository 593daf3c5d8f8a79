"""Where pictures, losses and costs come from: what the judge asks, whoever answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lora_ci.diffusion.request import Picture
from lora_ci.qa.evidence import Cost
from lora_ci.ruler.references import Reference


@dataclass(frozen=True, slots=True, kw_only=True)
class Worn:
    """An adapter by the sha256 of its file, at a weight."""

    adapter: str
    weight: float


class Studio(Protocol):
    """Draws with the base and whatever it wears; () is the bare base.

    The same wear, prompt and seed give the same picture, whatever else is asked for.
    """

    def draw(
        self, worn: tuple[Worn, ...], prompts: Sequence[str], seeds: Sequence[int]
    ) -> Mapping[str, Sequence[Picture]]:
        """Pictures by prompt, one a seed. Raises Interrupted when asked to stop."""
        ...

    def losses(self, worn: tuple[Worn, ...], pictures: Sequence[Reference]) -> NDArray[np.float64]:
        """The denoising loss of each picture, [n], at noise that is the same for every wear."""
        ...

    def cost(self, worn: Worn, prompt: str) -> Cost:
        """What an adapter costs, timed on a prompt."""
        ...
