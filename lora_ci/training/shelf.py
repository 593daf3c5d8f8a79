"""What a training needs encoded: taken from the cache, or made now and put there.

Pictures and captions are encoded one by one. In batches a latent's last bits depend on what it is
encoded with, and adapters could not be made again byte for byte; nor is it slower on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import torch

from lora_ci.core.errors import InfrastructureError, InputError
from lora_ci.diffusion.conditioning import Conditioning, encode_texts
from lora_ci.diffusion.latents import encode_pictures
from lora_ci.diffusion.load import BaseModel
from lora_ci.training.buckets import View
from lora_ci.training.data import Sample
from lora_ci.training.entries import Tensors, entry_path, read_entry, write_entry
from lora_ci.training.pictures import load_views

# Raise it when the same key would get other bytes.
VERSION = "2"
LATENTS, CAPTIONS = "latents", "captions"
# So much stays in memory; what is beyond is read anew for each step.
MEMORY_BYTES = 2 * 2**30

# Called with done, total and what; may raise to stop.
Told: TypeAlias = Callable[[int, int, str], None]


@dataclass(slots=True, kw_only=True, eq=False)
class Shelf:
    """Entries of one training: all on disk, as many as fit in memory.

    `base` is the content id of the base model, `dtype` the precision of its text encoders.
    """

    cache: Path
    base: str
    dtype: torch.dtype
    memory_bytes: int
    used: set[Path] = field(default_factory=set)
    _kept: dict[Path, Tensors] = field(default_factory=dict)

    def latents(self, sample: Sample, view: View) -> torch.Tensor:
        """Latents [c, h, w] of a picture's view, float32; made before."""
        return self._get(self._latents_path(sample, view))["latents"]

    def text(self, caption: str) -> Conditioning:
        """The encoded caption, a batch of one, in the encoders' precision; made before."""
        entry = self._get(self._text_path(caption))
        pooled = entry.get("pooled")
        return Conditioning(
            tokens=entry["tokens"][None], pooled=None if pooled is None else pooled[None]
        )

    def missing_views(self, sample: Sample, views: Sequence[View]) -> list[View]:
        """Those that must be made."""
        return [v for v in dict.fromkeys(views) if not self._find(self._latents_path(sample, v))]

    def missing_texts(self, captions: Sequence[str]) -> list[str]:
        """Those that must be made."""
        return [t for t in dict.fromkeys(captions) if not self._find(self._text_path(t))]

    def make_views(self, model: BaseModel, sample: Sample, views: Sequence[View]) -> None:
        """Encodes views of a picture. Raises InputError if a latent is no number."""
        for view, pixels in zip(views, load_views(sample, views), strict=True):
            latents = encode_pictures(model, pixels[None])[0].float().cpu().contiguous()
            if not torch.isfinite(latents).all():
                raise InputError(
                    f"{sample.name}: the base model's VAE makes no finite latents of it",
                    hint="next: save the picture anew; if all are refused, the VAE is damaged",
                )
            self._put(self._latents_path(sample, view), {"latents": latents})

    def make_text(self, model: BaseModel, caption: str) -> None:
        """Encodes a caption."""
        with torch.no_grad():
            encoded = encode_texts(model, [caption]).rows(0)
        entry = {"tokens": encoded.tokens.cpu().contiguous()}
        if encoded.pooled is not None:
            entry["pooled"] = encoded.pooled.cpu().contiguous()
        self._put(self._text_path(caption), entry)

    def _latents_path(self, sample: Sample, view: View) -> Path:
        place = f"{view.bucket} of {view.scaled} at {view.left},{view.top} {view.mirrored}"
        return entry_path(self.cache / LATENTS, VERSION, self.base, sample.sha256, place)

    def _text_path(self, caption: str) -> Path:
        return entry_path(self.cache / CAPTIONS, VERSION, self.base, str(self.dtype), caption)

    def _find(self, path: Path) -> bool:
        """True if the entry is there and whole."""
        self.used.add(path)
        if path in self._kept:
            return True
        entry = read_entry(path)
        if entry is not None:
            self._keep(path, entry)
        return entry is not None

    def _put(self, path: Path, entry: Tensors) -> None:
        write_entry(path, entry)
        self._keep(path, entry)

    def _keep(self, path: Path, entry: Tensors) -> None:
        size = sum(tensor.nbytes for tensor in entry.values())
        if size <= self.memory_bytes:
            self.memory_bytes -= size
            self._kept[path] = entry

    def _get(self, path: Path) -> Tensors:
        entry = self._kept.get(path) or read_entry(path)
        if entry is None:
            raise InfrastructureError(
                f"{path}: gone from the cache, or damaged, while it was used",
                hint="next: the same command; it is made anew, and training goes on",
            )
        return entry
