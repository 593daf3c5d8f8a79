"""An image file → measurements."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from lora_ci.dataset.features import blur_ratio, perceptual_hashes, thumbnails

FORMATS = {"PNG": {".png"}, "JPEG": {".jpg", ".jpeg"}, "WEBP": {".webp"}}
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
HASHES_SHAPE = (6, 32)
THUMBNAILS_SHAPE = (3, 16, 16, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one image file turned out to be; `problems` are (rule, message).

    `pixels` is the sha256 of the decoded RGB pixels, `hashes` [variants] of 256 bits each as
    uint8 [6, 32], `thumbnails` uint8 [3, 16, 16, 3], the whole picture first.
    """

    path: Path
    problems: tuple[tuple[str, str], ...] = ()
    width: int = 0
    height: int = 0
    pixels: str = ""
    hashes: NDArray[np.uint8] | None = None
    thumbnails: NDArray[np.uint8] | None = None
    blur: float = 0.0


def measure(path: Path, max_pixels: int) -> Measured:
    """Decodes one file wholly and measures it."""
    if path.is_symlink() or not path.is_file():
        return Measured(path=path, problems=(("image.link", "not a regular file"),))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return _measure(path, max_pixels)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning, MemoryError):
        problem = ("image.too-large", f"more than {max_pixels:,} pixels, or too large to decode")
        return Measured(path=path, problems=(problem,))
    except UnidentifiedImageError:
        message = "no PNG, JPEG or WebP image"
        return Measured(path=path, problems=(("image.unreadable", message),))
    except Exception as error:  # noqa: BLE001 - decoders raise nearly anything on broken files
        message = f"cannot be decoded: {type(error).__name__}: {error}"[:200]
        return Measured(path=path, problems=(("image.unreadable", message),))


def _measure(path: Path, max_pixels: int) -> Measured:
    problems: list[tuple[str, str]] = []
    with Image.open(path, formats=list(FORMATS)) as file:
        kind, mode = str(file.format), file.mode
        if file.width * file.height > max_pixels:
            text = f"{file.width} × {file.height} pixels; at most {max_pixels:,} are decoded"
            return Measured(path=path, problems=(("image.too-large", text),))
        frames = int(getattr(file, "n_frames", 1))
        if frames > 1:
            problems.append(("image.animated", f"{frames} frames; one is expected"))
        file.load()
        upright = ImageOps.exif_transpose(file)
    if path.suffix.lower() not in FORMATS[kind]:
        problems.append(("image.wrong-extension", f"a {kind} file named {path.suffix}"))
    if mode in ("CMYK", "I", "F") or mode.startswith("I;"):
        problems.append(("image.mode", f"color mode {mode}; 8-bit RGB is expected"))
    pixels = np.asarray(on_white(upright))
    if np.ptp(pixels, axis=(0, 1)).max() == 0:
        problems.append(("image.blank", "all pixels have one color"))
    return Measured(
        path=path,
        problems=tuple(problems),
        width=upright.width,
        height=upright.height,
        pixels=hashlib.sha256(pixels.tobytes() + repr(pixels.shape).encode()).hexdigest(),
        hashes=perceptual_hashes(pixels),
        thumbnails=thumbnails(pixels),
        blur=blur_ratio(pixels),
    )


def on_white(picture: Image.Image) -> Image.Image:
    """RGB, transparency flattened on white."""
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")
