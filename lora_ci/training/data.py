"""A dataset folder → images with captions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from lora_ci.core.captions import METADATA, Caption, parse_metadata
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
    """The samples of a folder, sorted by path; an image without a caption gets the trigger.

    Raises:
        InputError: there is no image, or a `metadata.jsonl` has a line that is no caption.
    """
    listed = read_metadata(folder)
    samples = []
    for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
        sidecars = (path.with_suffix(suffix) for suffix in CAPTION_SUFFIXES)
        sidecar = next((file for file in sidecars if file.is_file()), None)
        if sidecar:
            caption = sidecar.read_text("utf-8-sig").strip()
        else:
            line = listed.get(path.relative_to(folder).as_posix())
            caption = line.text if line else trigger
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        samples.append(Sample(path=path, caption=caption, sha256=sha256))
    if not samples:
        raise InputError("no image in the dataset", hint="next: lora-ci dataset validate")
    return samples


def read_metadata(folder: Path) -> Mapping[str, Caption]:
    """The captions that stand in the `metadata.jsonl` files of a folder."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob(METADATA)}
    listed = parse_metadata({name: path.read_bytes() for name, path in files.items()})
    if listed.findings:
        raise InputError(listed.findings[0].message, findings=listed.findings)
    return listed.captions


def drawn_order(samples: list[Sample], folder: Path, repeats: Mapping[str, int]) -> list[int]:
    """The numbers of the samples of one epoch: each as often as its source counts.

    `repeats` has the paths of sources below the folder; samples below none of them count once.
    """
    order = []
    for number, sample in enumerate(samples):
        parents = (p.as_posix() for p in sample.path.relative_to(folder).parents)
        times = next((repeats[p] for p in parents if p in repeats), repeats.get("", 1))
        order += [number] * times
    return order


def load_pixels(path: Path, resolution: int) -> torch.Tensor:
    """The picture upright, cropped to its middle square, [3, resolution, resolution] in [-1, 1]."""
    with Image.open(path) as file:
        picture = ImageOps.exif_transpose(file).convert("RGB")
    picture = ImageOps.fit(picture, (resolution, resolution), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float()
    return pixels / 127.5 - 1
