"""Image files → pixels: upright, RGB, transparency on white, brought into a bucket."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image

from lora_ci.core.buckets import View
from lora_ci.core.errors import InputError, machine_error
from lora_ci.training.data import Sample

FORMATS = ("PNG", "JPEG", "WEBP")
ORIENTATION = 0x0112
# What EXIF's orientations ask for: numbers 2 to 8; 1 is upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = {5, 6, 7, 8}


def read_size(sample: Sample) -> tuple[int, int]:
    """Width and height of the upright picture, from the file's head: nothing is decoded.

    Raises:
        InputError: the file is no PNG, JPEG or WebP image.
    """
    with _opened(sample) as file:
        width, height = file.size
        return (height, width) if _orientation(file) in SIDEWAYS else (width, height)


def load_views(sample: Sample, views: Sequence[View]) -> list[torch.Tensor]:
    """Views of a picture in one bucket, cut from one scaling; each [3, height, width] in [-1, 1].

    Of an animation the first frame counts.

    Raises:
        InputError: the file cannot be decoded.
    """
    with _opened(sample) as file:
        file.load()
        picture = _on_white(file)
        turn = TURNS.get(_orientation(file))
    upright = picture if turn is None else picture.transpose(turn)
    scaled = upright.resize(views[0].scaled, Image.Resampling.LANCZOS)
    return [_cut(scaled, view) for view in views]


def _cut(scaled: Image.Image, view: View) -> torch.Tensor:
    right, bottom = view.left + view.bucket.width, view.top + view.bucket.height
    part = scaled.crop((view.left, view.top, right, bottom))
    pixels = torch.from_numpy(np.array(part)).permute(2, 0, 1).float() / 127.5 - 1
    return pixels.flip(-1) if view.mirrored else pixels


@contextmanager
def _opened(sample: Sample) -> Iterator[Image.Image]:
    try:
        with Image.open(sample.path, formats=FORMATS) as file:
            yield file
    except OSError as error:
        if machine_error(error):
            raise
        raise _undecodable(sample, error) from error
    except MemoryError:
        raise
    except Exception as error:
        # Decoders raise nearly anything on broken files.
        raise _undecodable(sample, error) from error


def _undecodable(sample: Sample, error: Exception) -> InputError:
    message = f"{sample.name}: the image cannot be decoded: {error}"[:300]
    return InputError(
        message,
        rule="train.undecodable",
        file=sample.name,
        hint="next: lora-ci dataset validate; save the image anew or remove it",
    )


def _orientation(file: Image.Image) -> int:
    """EXIF's orientation as far as the head of the file has it.

    A PNG may have EXIF behind its pixels; to look there would decode the file to learn its size.
    """
    exif = Image.Exif()
    exif.load(file.info.get("exif") or b"")
    return int(exif.get(ORIENTATION, 1))


def _on_white(picture: Image.Image) -> Image.Image:
    """RGB with 8 bits, transparency flattened on white."""
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        # Pillow cuts 16-bit gray at 255 rather than scaling it.
        picture = Image.fromarray((np.asarray(picture).clip(0, 65535) // 257).astype(np.uint8))
    if "A" in picture.getbands() or "a" in picture.getbands() or "transparency" in picture.info:
        layers = picture.convert("RGBA")
        white = Image.new("RGBA", layers.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layers).convert("RGB")
    return picture.convert("RGB")
