"""What is asked of who makes pictures, without what makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureRequest:
    """One picture. `weight` is the adapter's strength; 0 asks for a picture without it.

    FLUX has guidance distilled into it: it is told `guidance` and knows no negative prompt.
    """

    prompt: str
    seed: int
    negative_prompt: str = ""
    steps: int = 25
    guidance: float = 7.0
    guidance_rescale: float = 0.0
    width: int = 512
    height: int = 512
    weight: float = 1.0


class Generator(Protocol):
    """Makes pictures."""

    def generate(self, requests: Sequence[PictureRequest]) -> Sequence[Picture]:
        """One picture [height, width, 3] a request, in the order of the requests.

        One that came out not finite is all black: a `blank` one to `ruler/defects`.
        """
        ...
