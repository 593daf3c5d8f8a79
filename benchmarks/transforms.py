"""Stands in for `torchvision.transforms` where torchvision cannot be imported.

Only what the official scripts use with `--center_crop` and without `--random_flip`, done with
Pillow and torch, as torchvision does it for Pillow pictures.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image


class InterpolationMode(enum.Enum):
    """The modes the script may be asked for."""

    NEAREST = "nearest"
    BILINEAR = "bilinear"
    BICUBIC = "bicubic"
    LANCZOS = "lanczos"


@dataclass(frozen=True)
class Compose:
    """One after the other."""

    steps: Sequence[Callable[[Any], Any]]

    def __call__(self, value: Any) -> Any:
        """What the last step gives."""
        for step in self.steps:
            value = step(value)
        return value


@dataclass(frozen=True)
class Resize:
    """The shorter side becomes `side`; a picture that fits is left alone."""

    side: int
    interpolation: InterpolationMode

    def __call__(self, picture: Image.Image) -> Image.Image:
        """The picture, resized."""
        shorter = min(picture.size)
        if shorter == self.side:
            return picture
        size = (picture.width * self.side // shorter, picture.height * self.side // shorter)
        return picture.resize(size, Image.Resampling[self.interpolation.name])


@dataclass(frozen=True)
class CenterCrop:
    """The middle square; pictures are never smaller after `Resize`."""

    side: int

    def __call__(self, picture: Image.Image) -> Image.Image:
        """The square."""
        left = round((picture.width - self.side) / 2)
        top = round((picture.height - self.side) / 2)
        return picture.crop((left, top, left + self.side, top + self.side))


@dataclass(frozen=True)
class Lambda:
    """Any function."""

    function: Callable[[Any], Any]

    def __call__(self, value: Any) -> Any:
        """What the function gives."""
        return self.function(value)


class ToTensor:
    """[3, h, w] in [0, 1]."""

    def __call__(self, picture: Image.Image) -> torch.Tensor:
        """The pixels."""
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().float().div(255)


@dataclass(frozen=True)
class Normalize:
    """Shifts and scales all channels alike."""

    mean: Sequence[float]
    std: Sequence[float]

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """[3, h, w]."""
        return (pixels - self.mean[0]) / self.std[0]


@dataclass(frozen=True)
class RandomHorizontalFlip:
    """Made by the script for SDXL, called only with `--random_flip`, which no benchmark gives."""

    p: float = 0.5

    def __call__(self, picture: Image.Image) -> Image.Image:
        """Raises NotImplementedError."""
        raise NotImplementedError("the stand-in for torchvision does not flip")


def crop(picture: Image.Image, top: int, left: int, height: int, width: int) -> Image.Image:
    """A part of the picture."""
    return picture.crop((left, top, left + width, top + height))
