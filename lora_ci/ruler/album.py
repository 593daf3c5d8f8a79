"""Pictures and their features, each made once: kept by all that they depend on.

Pictures of the base are shared by all LoRAs and runs; those of an adapter let a killed judgement
go on where it stopped.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from lora_ci.core.digest import sha256_bytes, sha256_json
from lora_ci.core.errors import Interrupted
from lora_ci.core.settings import QaSettings
from lora_ci.diffusion.generate import Generator, Picture, PictureRequest
from lora_ci.ruler.embedder import Embedder, Features

GENERATION_VERSION = 1
BATCH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """Who makes pictures: the base, or the base with an adapter; `identity` tells them apart."""

    identity: tuple[str, ...]
    generator: Generator
    weight: float


@dataclass(slots=True, kw_only=True)
class Album:
    """Makes pictures of `side` pixels unless they are kept; keeps features while it lives."""

    settings: QaSettings
    side: int
    embedder: Embedder
    cache: Path
    told: Callable[[int], None]
    stop: Callable[[], bool]
    _features: dict[str, Features] = field(default_factory=dict)

    def pictures(
        self, maker: Maker, prompts: Sequence[str], seeds: Sequence[int]
    ) -> dict[str, list[Picture]]:
        """Pictures [height, width, 3] by prompt, one a seed.

        Raises Interrupted when asked to stop; what was made by then is kept.
        """
        keys = [(prompt, seed) for prompt in dict.fromkeys(prompts) for seed in seeds]
        found = {k: p for k in keys if (p := self._kept(maker, *k)) is not None}
        self.told(len(found))
        absent = [k for k in keys if k not in found]
        for start in range(0, len(absent), BATCH):
            if self.stop():
                raise Interrupted("stopped while making pictures; those made are kept")
            batch = absent[start : start + BATCH]
            made = maker.generator.generate([self._request(maker, *key) for key in batch])
            for key, picture in zip(batch, made, strict=True):
                self._keep(maker, *key, picture)
                found[key] = picture
            self.told(len(batch))
        return {prompt: [found[prompt, seed] for seed in seeds] for prompt in prompts}

    def features(self, made: Mapping[str, list[Picture]], prompts: Sequence[str]) -> Features:
        """Features of the pictures of some prompts, [prompts, seeds, d]."""
        flat = self.embed([picture for prompt in prompts for picture in made[prompt]])
        return flat.reshape(len(prompts), -1, flat.shape[-1])

    def embed(self, pictures: Sequence[Picture]) -> Features:
        """Features [n, d]; each picture is embedded once. No picture gives [0, 0]."""
        if not pictures:
            return np.zeros((0, 0), np.float32)
        digests = [sha256_bytes(repr(p.shape).encode() + p.tobytes()) for p in pictures]
        new = {d: p for d, p in zip(digests, pictures, strict=True) if d not in self._features}
        if new:
            self._features.update(
                zip(new, self.embedder.embed_pictures(list(new.values())), strict=True)
            )
        return np.stack([self._features[d] for d in digests])

    def request(self, prompt: str, seed: int) -> PictureRequest:
        """The request of a prompt and seed, at weight 0."""
        return PictureRequest(
            prompt=prompt,
            seed=seed,
            negative_prompt=self.settings.negative_prompt,
            steps=self.settings.steps,
            guidance=self.settings.guidance,
            guidance_rescale=self.settings.guidance_rescale,
            width=self.side,
            height=self.side,
            weight=0.0,
        )

    def _request(self, maker: Maker, prompt: str, seed: int) -> PictureRequest:
        return replace(self.request(prompt, seed), weight=maker.weight)

    def _path(self, maker: Maker, prompt: str, seed: int) -> Path:
        request = self._request(maker, prompt, seed)
        key = sha256_json([GENERATION_VERSION, maker.identity, request])
        return self.cache / "pictures" / key[:2] / f"{key[2:]}.png"

    def _kept(self, maker: Maker, prompt: str, seed: int) -> Picture | None:
        try:
            with Image.open(self._path(maker, prompt, seed), formats=("PNG",)) as file:
                return np.array(file.convert("RGB"))
        except (OSError, UnidentifiedImageError, ValueError, SyntaxError):
            return None

    def _keep(self, maker: Maker, prompt: str, seed: int, picture: Picture) -> None:
        path = self._path(maker, prompt, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        temporary.write_bytes(png_bytes(picture))
        temporary.replace(path)


def png_bytes(picture: Picture) -> bytes:
    """The picture as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
