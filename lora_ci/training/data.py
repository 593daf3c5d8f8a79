"""A dataset folder → images with captions."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from lora_ci.core.errors import InputError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
CAPTION_SUFFIXES = (".txt", ".caption")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """An image and its caption; `sha256` is of the image file."""

    path: Path
    caption: str
    sha256: str


def read_samples(folder: Path, trigger: str) -> list[Sample]:
    """The samples of a folder, sorted by path; an image without a caption gets the trigger."""
    samples = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
        sidecars = (path.with_suffix(suffix) for suffix in CAPTION_SUFFIXES)
        sidecar = next((file for file in sidecars if file.is_file()), None)
        caption = sidecar.read_text("utf-8-sig").strip() if sidecar else trigger
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        samples.append(Sample(path=path, caption=caption, sha256=sha256))
    if not samples:
        raise InputError(f"no image in {folder.name}", hint="next: lora-ci dataset validate")
    return samples


def load_pixels(path: Path, resolution: int) -> torch.Tensor:
    """The picture upright, cropped to its middle square, [3, resolution, resolution] in [-1, 1]."""
    with Image.open(path) as file:
        picture = ImageOps.exif_transpose(file).convert("RGB")
    picture = ImageOps.fit(picture, (resolution, resolution), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float()
    return pixels / 127.5 - 1
