"""Pictures as the input of a model file that brings no code of its own for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lora_ci.core.errors import InputError
from lora_ci.diffusion.request import Picture

# CLIP's. Source: https://github.com/openai/CLIP/blob/main/clip/clip.py, `_transform`.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
USUAL_SIDE = 224
MAX_SIDE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """How pictures become numbers: cut to the shape, scaled to it, `(x / 255 - mean) / std`."""

    height: int
    width: int
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD

    def __call__(self, pictures: Sequence[Picture]) -> NDArray[np.float32]:
        """Pictures [height, width, 3] of any size as float32 [n, 3, height, width]."""
        rows = []
        for picture in pictures:
            image = Image.fromarray(picture)
            size = (self.width, self.height)
            fitted = ImageOps.fit(image, size, Image.Resampling.BICUBIC)
            rows.append(np.asarray(fitted, np.float32).transpose(2, 0, 1))
        mean = np.array(self.mean, np.float32)[:, None, None]
        std = np.array(self.std, np.float32)[:, None, None]
        pixels: NDArray[np.float32] = (np.stack(rows) / np.float32(255) - mean) / std
        return pixels


def pixels_of(told: Mapping[str, str], side: tuple[int, int] | None, spec: str) -> Pixels:
    """What the file of a model tells of its input: `mean`, `std`, `size`, each JSON.

    `side` is height and width where the input itself has them fixed. Raises InputError for values
    that are none.
    """
    mean = _numbers(told, "mean", CLIP_MEAN, spec)
    std = _numbers(told, "std", CLIP_STD, spec)
    if min(std) <= 0:
        raise _wrong(spec, "std", told["std"], "numbers above 0")
    height, width = side or _size(told, spec)
    return Pixels(height=height, width=width, mean=mean, std=std)


def _numbers(
    told: Mapping[str, str], key: str, usual: tuple[float, float, float], spec: str
) -> tuple[float, float, float]:
    if key not in told:
        return usual
    try:
        return msgspec.json.decode(told[key], type=tuple[float, float, float])
    except msgspec.DecodeError as error:
        raise _wrong(spec, key, told[key], "three numbers, such as `[0.5, 0.5, 0.5]`") from error


def _size(told: Mapping[str, str], spec: str) -> tuple[int, int]:
    if "size" not in told:
        return USUAL_SIDE, USUAL_SIDE
    try:
        size = msgspec.json.decode(told["size"], type=int | tuple[int, int])
    except msgspec.DecodeError as error:
        raise _wrong(spec, "size", told["size"], "pixels, such as `224`") from error
    height, width = (size, size) if isinstance(size, int) else size
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise _wrong(spec, "size", told["size"], f"1 to {MAX_SIDE} pixels")
    return height, width


def _wrong(spec: str, key: str, value: str, expected: str) -> InputError:
    message = f"embedder `{spec}`: its file says `{key}` is `{value[:80]}`; expected {expected}"
    return InputError(message, rule="embedder.file", hint="next: see docs/embedders.md")
