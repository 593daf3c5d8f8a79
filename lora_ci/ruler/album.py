"""Pictures, each made once: kept by all that they depend on.

Pictures of the base are shared by all LoRAs and runs; those of an adapter let a killed judgement
go on where it stopped, and one that is made again needs neither base nor adapter in memory.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from lora_ci.core.digest import sha256_json
from lora_ci.core.errors import Interrupted, machine_error
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.settings import QaSettings
from lora_ci.diffusion.request import Generator, Picture, PictureRequest
from lora_ci.store.cache import prune, read_cached, write_cached

# Raise it when the same key would get other pixels.
GENERATION_VERSION = 2
FOLDER = "pictures"
# Kept after each: what a kill costs at most.
BATCH = 8
# What is kept of all judgements; beyond it the least recently used goes.
LIMIT_BYTES = 10 * 2**30
PRUNED_EACH_BYTES = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """Who makes pictures: a base, or a base with adapters on it.

    `base` is all of the base that pictures depend on (its content, device and precision),
    `adapters` are digests with weights; the first one's weight is that of the requests. `open` is
    called when a picture is absent, and not before.
    """

    base: tuple[str, ...]
    adapters: tuple[tuple[str, float], ...] = ()
    open: Callable[[], Generator]

    @property
    def weight(self) -> float:
        """The weight that is asked for; 0 for the base."""
        return self.adapters[0][1] if self.adapters else 0.0


@dataclass(slots=True, kw_only=True)
class Album:
    """Makes pictures unless they are kept.

    `template` is what all requests have in common. `findings` tell of a disk that took no picture:
    it was used all the same. `kept` and `made` count the pictures that were asked for.
    """

    template: PictureRequest
    cache: Path
    told: Callable[[int], None]
    stop: Callable[[], bool]
    limit_bytes: int = LIMIT_BYTES
    findings: tuple[Finding, ...] = ()
    kept: int = 0
    made: int = 0
    _unpruned: int = PRUNED_EACH_BYTES

    def pictures(
        self, maker: Maker, prompts: Sequence[str], seeds: Sequence[int]
    ) -> dict[str, list[Picture]]:
        """Pictures [height, width, 3] by prompt, one a seed.

        Raises Interrupted when asked to stop; what was made by then is kept.
        """
        keys = [(prompt, seed) for prompt in dict.fromkeys(prompts) for seed in seeds]
        found = {k: p for k in keys if (p := self._kept(maker, *k)) is not None}
        self.told(len(found))
        self.kept += len(found)
        absent = [k for k in keys if k not in found]
        generator: Generator | None = None
        for start in range(0, len(absent), BATCH):
            if self.stop():
                raise Interrupted("stopped while making pictures; those made are kept")
            batch = absent[start : start + BATCH]
            generator = generator or maker.open()
            made = generator.generate([self._request(maker, *key) for key in batch])
            for key, picture in zip(batch, made, strict=True):
                self._keep(maker, *key, picture)
                found[key] = picture
            self.told(len(batch))
            self.made += len(batch)
        if self._unpruned >= PRUNED_EACH_BYTES and absent:
            prune([self.cache / FOLDER], self.limit_bytes, [self._path(maker, *k) for k in keys])
            self._unpruned = 0
        return {prompt: [found[prompt, seed] for seed in seeds] for prompt in prompts}

    def request(self, prompt: str, seed: int) -> PictureRequest:
        """The request of a prompt and seed, at weight 0."""
        return replace(self.template, prompt=prompt, seed=seed, weight=0.0)

    def _request(self, maker: Maker, prompt: str, seed: int) -> PictureRequest:
        return replace(self.request(prompt, seed), weight=maker.weight)

    def _path(self, maker: Maker, prompt: str, seed: int) -> Path:
        request = self._request(maker, prompt, seed)
        key = sha256_json([GENERATION_VERSION, maker.base, maker.adapters, request])
        return self.cache / FOLDER / key[:2] / f"{key[2:]}.picture"

    def _kept(self, maker: Maker, prompt: str, seed: int) -> Picture | None:
        """None for a picture that was never made, or is damaged."""
        try:
            payload = read_cached(self._path(maker, prompt, seed))
            if payload is None:
                return None
            with Image.open(io.BytesIO(payload), formats=("PNG",)) as file:
                if file.size != (self.template.width, self.template.height):
                    return None
                return np.array(file.convert("RGB"))
        except (OSError, UnidentifiedImageError, ValueError, SyntaxError):
            return None

    def _keep(self, maker: Maker, prompt: str, seed: int, picture: Picture) -> None:
        payload = png_bytes(picture, level=1)
        try:
            write_cached(self._path(maker, prompt, seed), payload)
        except OSError as error:
            if machine_error(error) is None:
                raise
            self.findings = (_not_kept(error),)
        self._unpruned += len(payload)


def template_of(settings: QaSettings, *, side: int, guidance: float) -> PictureRequest:
    """What all pictures of a judgement have in common.

    `side` and `guidance` are the base's own, taken where the settings name none.
    """
    pixels = settings.resolution or side
    return PictureRequest(
        prompt="",
        seed=0,
        negative_prompt=settings.negative_prompt,
        steps=settings.steps,
        guidance=guidance if settings.guidance is None else settings.guidance,
        guidance_rescale=settings.guidance_rescale,
        width=pixels,
        height=pixels,
        weight=0.0,
    )


def png_bytes(picture: Picture, *, level: int = 9) -> bytes:
    """The picture as PNG; level 1 is a quarter larger than 9, and made five times as fast."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", compress_level=level)
    return buffer.getvalue()


def _not_kept(error: OSError) -> Finding:
    return Finding(
        rule="qa.pictures-not-kept",
        severity=Severity.WARNING,
        message=f"{error.filename}: {error.strerror}: pictures were used, but are not kept",
        hint="next: make room (df -h); a judgement that is stopped makes them anew otherwise",
    )
