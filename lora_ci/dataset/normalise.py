"""The bytes of a picture → the bytes that training gets of it.

Upright, sRGB with 8 bits, transparency on white, no larger than training uses it, and nothing but
pixels: no EXIF, no place, no profile, no comment.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageCms, ImageOps

from lora_ci.core.buckets import buckets_of, choose, growth, square, views_of
from lora_ci.core.settings import TrainSettings
from lora_ci.dataset.decode import UnreadableError, on_white

FORMATS = ("PNG", "JPEG", "WEBP")
JPEG_QUALITY = 95
# Profiles of these modes describe other colors than those of the pixels we would convert.
PROFILED = ("RGB", "CMYK", "L")


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What pictures are written as.

    `size` is the side in pixels of the square that training will use, with buckets of that size;
    None keeps the size of each picture.
    """

    kind: Literal["png", "jpeg"] = "png"
    size: int | None = None

    @property
    def words(self) -> str:
        """All that is done to a picture."""
        scaled = (
            f"reduced to fill its bucket of {self.size}² pixels, never enlarged, never cut"
            if self.size
            else "in its own size"
        )
        kind = f"JPEG, quality {JPEG_QUALITY}, 4:4:4" if self.kind == "jpeg" else "PNG"
        return (
            f"upright, sRGB with 8 bits a channel, transparency on white, {scaled}, "
            f"no metadata, {kind}"
        )


def normalised(data: bytes, form: Form) -> bytes:
    """The file to write. Raises UnreadableError."""
    picture = open_upright(data)
    size = used_size(picture.size, form.size)
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    # A picture made of pixels alone: what Pillow knows of the file would be written with them.
    bare, file = Image.fromarray(np.asarray(picture)), io.BytesIO()
    if form.kind == "jpeg":
        bare.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    else:
        bare.save(file, "PNG")
    return file.getvalue()


def thumbnail(data: bytes, side: int) -> tuple[bytes, tuple[int, int]]:
    """A small JPEG of a picture for a page, and its width and height. Raises as `normalised`."""
    picture = open_upright(data, about=side)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    bare, file = Image.fromarray(np.asarray(picture)), io.BytesIO()
    bare.save(file, "JPEG", quality=82)
    return file.getvalue(), picture.size


def open_upright(data: bytes, *, about: int | None = None) -> Image.Image:
    """The picture as people see it, RGB with 8 bits; of an animation the first frame.

    A JPEG may be decoded at a smaller size, of which no side is shorter than `about` pixels. Raises
    UnreadableError; whether a decoder hangs or crashes is found out before, in a process apart
    (`worker.measure_files`).
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as file:
            if about:
                file.draft(None, (about, about))
            file.load()
            profile = file.info.get("icc_profile") or b""
            upright = ImageOps.exif_transpose(file)
        return _in_srgb(upright, profile)
    except MemoryError:
        raise
    except Exception as error:
        # Decoders raise nearly anything on broken files.
        raise UnreadableError("image.unreadable", f"cannot be decoded: {error}"[:200]) from error


def _in_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """RGB; by its profile where that can be used, else the numbers are taken for sRGB's."""
    opaque = picture.mode in PROFILED and "transparency" not in picture.info
    flat = picture if opaque else on_white(picture)
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            made = ImageCms.profileToProfile(
                flat, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
        except (ImageCms.PyCMSError, OSError, ValueError):
            return on_white(flat)
        return on_white(flat) if made is None else made
    return on_white(flat)


def used_size(size: tuple[int, int], side: int | None) -> tuple[int, int]:
    """The size at which training uses a picture, if that is smaller than its own."""
    if side is None:
        return size
    training = TrainSettings(resolution=side)
    step = training.bucket_step
    buckets = buckets_of(side, step) if training.in_buckets else (square(side, step),)
    view = views_of(size, choose(size, buckets), "center")[0]
    return view.scaled if growth(size, view) < 1 else size
