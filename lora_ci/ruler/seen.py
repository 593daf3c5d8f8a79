"""Are the references held out? One that was trained on tells nothing of what was learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lora_ci.diffusion.request import Picture
from lora_ci.ruler.references import Reference

# Root mean square of 255 within which two pictures differ by no more than how they were saved.
SAVED_ANEW = 6.0
PARTS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A reference, and the training picture that it is; by name."""

    reference: str
    training: str


def find_seen(references: Sequence[Reference], training: Sequence[Reference]) -> tuple[Seen, ...]:
    """The references that are training pictures: the same pixels, or the same picture saved anew.

    All pictures have one size. It is for pixels to say, not for an embedder: to some, two pictures
    of one thing are the same.
    """
    if not references or not training:
        return ()
    known = np.stack([_means(one.picture) for one in training])
    found = []
    for reference in references:
        # Means of parts differ no more than the pixels do, but for the border that they leave.
        apart = np.sqrt(((known - _means(reference.picture)) ** 2).mean(axis=(1, 2, 3)))
        near = (training[at] for at in np.flatnonzero(apart < 2 * SAVED_ANEW).tolist())
        twin = next((t for t in near if _difference(reference, t) < SAVED_ANEW), None)
        if twin is not None:
            found.append(Seen(reference=reference.name, training=twin.name))
    return tuple(found)


def _means(picture: Picture) -> NDArray[np.float64]:
    """Means of 8 by 8 parts of a picture, [8, 8, 3]; of what does not divide, a border is left."""
    height, width = (side // PARTS for side in picture.shape[:2])
    parts = picture[: PARTS * height, : PARTS * width].reshape(PARTS, height, PARTS, width, 3)
    means: NDArray[np.float64] = parts.mean(axis=(1, 3), dtype=np.float64)
    return means


def _difference(one: Reference, other: Reference) -> float:
    step = one.picture.astype(np.float32) - other.picture.astype(np.float32)
    return float(np.sqrt(np.square(step).mean()))
