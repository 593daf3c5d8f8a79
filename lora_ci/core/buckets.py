"""Buckets: the few shapes that pictures are brought to, so that a batch has one shape.

The idea is NovelAI's (https://blog.novelai.net, "NovelAI Improvements on Stable Diffusion", 2022):
pictures keep about their shape, at about the same number of pixels. The rule here is our own.
Shapes: sides in pixels, width before height, but where models are told: they hear height first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

# No bucket is longer than twice its shorter side; longer pictures lose their ends.
LONGEST = 2
# Where crops are random, a picture has so many views: from one end to the other, evenly spaced.
RANDOM_CROPS = 4


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Bucket:
    """The shape of a batch."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How a picture is brought into a bucket: scaled to `scaled`, cut at left and top, mirrored."""

    bucket: Bucket
    scaled: tuple[int, int]
    left: int
    top: int
    mirrored: bool = False

    @property
    def corner(self) -> tuple[int, int]:
        """(top, left) of the cut in the scaled and, if so, mirrored picture."""
        if self.mirrored:
            return self.top, self.scaled[0] - self.bucket.width - self.left
        return self.top, self.left


def buckets_of(resolution: int, step: int) -> tuple[Bucket, ...]:
    """All buckets, sorted: sides are multiples of `step`, at most resolution² pixels.

    For every shorter side the longest other side; of the same shape only the largest. `step` is at
    most `resolution`.
    """
    largest = resolution // step * step
    shapes = {1.0: Bucket(width=largest, height=largest)}
    for width in range(step, largest + 1, step):
        room = min(resolution**2 // width, LONGEST * width)
        height = room // step * step
        # Widths rise, so the last bucket of a shape is its largest.
        if height > width:
            shapes[width / height] = Bucket(width=width, height=height)
    upright = list(shapes.values())
    lying = [Bucket(width=b.height, height=b.width) for b in upright]
    return tuple(sorted({*upright, *lying}))


def square(resolution: int, step: int) -> Bucket:
    """The one bucket of a training without buckets: its side is a multiple of `step`."""
    side = max(step, resolution // step * step)
    return Bucket(width=side, height=side)


def choose(size: tuple[int, int], buckets: Iterable[Bucket]) -> Bucket:
    """The bucket in which a picture of that size keeps most; of equal ones the first."""

    def kept(bucket: Bucket) -> float:
        one, other = size[0] * bucket.height, size[1] * bucket.width
        return min(one, other) / max(one, other)

    return max(buckets, key=kept)


def views_of(
    size: tuple[int, int], bucket: Bucket, crop: Literal["center", "random"]
) -> tuple[View, ...]:
    """The views of a picture in its bucket, not mirrored: one, or RANDOM_CROPS from end to end.

    The picture is scaled just so far that it fills the bucket, so one side at most is cut.
    """
    scale = max(bucket.width / size[0], bucket.height / size[1])
    scaled = (
        max(bucket.width, round(size[0] * scale)),
        max(bucket.height, round(size[1] * scale)),
    )
    places = [i / (RANDOM_CROPS - 1) for i in range(RANDOM_CROPS)] if crop == "random" else [0.5]
    return tuple(
        View(
            bucket=bucket,
            scaled=scaled,
            left=math.floor((scaled[0] - bucket.width) * place),
            top=math.floor((scaled[1] - bucket.height) * place),
        )
        for place in places
    )


def growth(size: tuple[int, int], view: View) -> float:
    """How many times longer a picture's sides are in a view; above 1 it is enlarged."""
    return max(view.scaled[0] / size[0], view.scaled[1] / size[1])
