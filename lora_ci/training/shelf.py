"""What a training has encoded: all of it in the cache, as much as fits in memory too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from lora_ci.core.buckets import View
from lora_ci.core.errors import InfrastructureError
from lora_ci.diffusion.conditioning import Conditioning
from lora_ci.training.data import Sample
from lora_ci.training.entries import Tensors, entry_path, read_entry, write_entry

# Raise it when the same key would get other bytes.
VERSION = "2"
LATENTS, CAPTIONS = "latents", "captions"
# So much stays in memory; what is beyond is read anew for each step.
MEMORY_BYTES = 2 * 2**30


@dataclass(slots=True, kw_only=True, eq=False)
class Shelf:
    """Entries of one training: all on disk, as many as fit in memory.

    `base` is the content id of the base model, `dtype` the precision of its text encoders. `used`
    are the files and their sizes in bytes.
    """

    cache: Path
    base: str
    dtype: torch.dtype
    memory_bytes: int
    used: dict[Path, int] = field(default_factory=dict)
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

    def put_latents(self, sample: Sample, view: View, latents: torch.Tensor) -> None:
        """Keeps latents [c, h, w], float32. Raises OSError."""
        self._put(self._latents_path(sample, view), {"latents": latents})

    def put_text(self, caption: str, encoded: Conditioning) -> None:
        """Keeps an encoded caption, a batch of one. Raises OSError."""
        entry = {"tokens": encoded.tokens[0].cpu().contiguous()}
        if encoded.pooled is not None:
            entry["pooled"] = encoded.pooled[0].cpu().contiguous()
        self._put(self._text_path(caption), entry)

    def _latents_path(self, sample: Sample, view: View) -> Path:
        place = f"{view.bucket} of {view.scaled} at {view.left},{view.top} {view.mirrored}"
        return entry_path(self.cache / LATENTS, VERSION, self.base, sample.sha256, place)

    def _text_path(self, caption: str) -> Path:
        return entry_path(self.cache / CAPTIONS, VERSION, self.base, str(self.dtype), caption)

    def _find(self, path: Path) -> bool:
        """True if the entry is there and whole."""
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
        self.used[path] = size
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
