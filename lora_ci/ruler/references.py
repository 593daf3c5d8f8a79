"""A folder of pictures with captions, as the ruler looks at them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from lora_ci.core.captions import SIDECARS
from lora_ci.core.changeset import READ_IMAGES
from lora_ci.core.errors import InputError
from lora_ci.diffusion.request import Picture

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 64_000_000
NO_PICTURE = (OSError, UnidentifiedImageError, ValueError, SyntaxError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A real picture, cropped square to the size of generated ones; the caption can be empty."""

    name: str
    picture: Picture
    caption: str


def read_references(folder: Path, side: int) -> list[Reference]:
    """The pictures of a folder, sorted by path, [side, side, 3] each.

    Raises InputError for a picture that cannot be decoded.
    """
    named = (path for path in folder.rglob("*") if path.suffix.lower() in READ_IMAGES)
    paths = sorted(path for path in named if path.is_file())
    return [
        Reference(
            name=path.relative_to(folder).as_posix(),
            picture=_decode(path, side),
            caption=_caption(path),
        )
        for path in paths
    ]


def _decode(path: Path, side: int) -> Picture:
    try:
        with Image.open(path, formats=FORMATS) as file:
            if file.width * file.height > MAX_PIXELS:
                raise InputError(f"{path.name}: more than {MAX_PIXELS} pixels")
            upright = ImageOps.exif_transpose(file).convert("RGBA")
    except (*NO_PICTURE, Image.DecompressionBombError) as error:
        hint = "next: lora-ci dataset validate on this folder"
        raise InputError(f"{path.name}: cannot be decoded: {error}", hint=hint) from error
    paper = Image.new("RGBA", upright.size, "white")
    flat = Image.alpha_composite(paper, upright).convert("RGB")
    return np.asarray(ImageOps.fit(flat, (side, side), Image.Resampling.LANCZOS))


def _caption(path: Path) -> str:
    for suffix in SIDECARS:
        sidecar = path.with_suffix(suffix)
        if sidecar.is_file():
            return sidecar.read_text("utf-8-sig", errors="replace").strip()
    return ""
