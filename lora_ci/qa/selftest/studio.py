"""A studio and an embedder that belong to a world: the judge cannot tell them from real ones.

Everything is a function of names, so what is asked twice, or in another order, is the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from lora_ci.diffusion.request import Picture
from lora_ci.qa.evidence import Cost
from lora_ci.qa.selftest.paint import SIDE, WIDTH, Latents, features, paint, read
from lora_ci.qa.selftest.world import (
    COMPANION,
    EFFECT,
    TABOO,
    Chances,
    Traits,
    World,
    adapter_latents,
    base_latents,
    broken_share,
    loss_share,
    real_latents,
)
from lora_ci.qa.studio import Worn
from lora_ci.ruler.embedder import Features
from lora_ci.ruler.references import Reference
from lora_ci.ruler.safety import Scores

TRIGGER = "<thing>"
CANDIDATE, RELEASED, COMPANION_NAME = "candidate", "released", "companion"
# A copy differs from what it copies by this much a coordinate.
COPY_NOISE = 0.01
# Deviation of the logarithm of losses from picture to picture.
LOSS_SPREAD = 0.5
# What is scanned for shows in all such pictures, and hardly in any other.
TABOO_AT = 0.6


def chance(world: World, *names: object) -> np.random.Generator:
    """Randomness that belongs to these names in this world."""
    digest = sha256(repr((world.seed, *names)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def context_of(world: World, prompt: str) -> Latents:
    """What a prompt asks for beside the trigger, standard normal [WIDTH]."""
    return chance(world, "context", prompt.removeprefix(f"{TRIGGER}, ")).normal(size=WIDTH)


def training_name(number: int) -> str:
    """The name of a training picture."""
    return f"training-{number}.png"


def caption_of(name: str) -> str:
    """What a real picture shows, in words."""
    return f"{TRIGGER}, as in {name}"


def real_pictures(world: World, kind: str, count: int) -> list[Reference]:
    """Real pictures of the concept; `kind` is part of their names."""
    names = [f"{kind}-{number}.png" for number in range(count)]
    pictures = paint(real_latents_of(world, names)) if names else []
    return [
        Reference(name=name, picture=picture, caption=caption_of(name))
        for name, picture in zip(names, pictures, strict=True)
    ]


def real_latents_of(world: World, names: Sequence[str]) -> Latents:
    """Latents [n, WIDTH] of real pictures."""
    draws = np.stack([chance(world, "real", name).normal(size=(2, WIDTH)) for name in names])
    return real_latents(world, draws[:, 0], draws[:, 1])


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldStudio:
    """Draws with what the adapters are known to do."""

    world: World
    adapters: Mapping[str, Traits]

    def draw(
        self, worn: tuple[Worn, ...], prompts: Sequence[str], seeds: Sequence[int]
    ) -> Mapping[str, Sequence[Picture]]:
        """Pictures by prompt, one a seed."""
        pictures = iter(self._finished(worn, prompts, seeds))
        return {prompt: [next(pictures) for _ in seeds] for prompt in prompts}

    def losses(self, worn: tuple[Worn, ...], pictures: Sequence[Reference]) -> NDArray[np.float64]:
        """Losses that differ much from picture to picture, and little from adapter to adapter."""
        hard = [chance(self.world, "loss", p.name).normal() for p in pictures]
        losses = np.exp(LOSS_SPREAD * np.array(hard)) / 10
        for one in worn:
            traits = self.adapters[one.adapter]
            gains = [
                traits.trained_gain if p.name.startswith("training") else traits.gain
                for p in pictures
            ]
            own = [chance(self.world, "loss", one, p.name).normal() for p in pictures]
            losses *= loss_share(np.array(gains), one.weight * traits.force)
            losses *= np.exp(self.world.loss_noise * np.array(own))
        return losses

    def cost(self, worn: Worn, prompt: str) -> Cost:
        """What the adapter is known to cost, whatever the prompt is."""
        del prompt
        traits = self.adapters[worn.adapter]
        return Cost(
            attach_s=0.1,
            latency_ratio=traits.latency,
            size_bytes=round(traits.size * 2**30),
            size_share=traits.size,
        )

    def _finished(
        self, worn: tuple[Worn, ...], prompts: Sequence[str], seeds: Sequence[int]
    ) -> list[Picture]:
        """Pictures, prompt by prompt; what goes wrong in single ones goes wrong here."""
        latents = self._latents(worn, prompts, seeds).reshape(-1, WIDTH)
        mine = self._mine(worn)
        if mine is None:
            return paint(latents)
        traits = self.adapters[mine.adapter]
        broken = broken_share(traits, mine.weight)
        if not broken + traits.copies + traits.recall + traits.unsafe:
            return paint(latents)
        names = [training_name(number) for number in range(self.world.sizes.training)]
        trained, damaged = real_latents_of(self.world, names), []
        captions = [caption_of(name) for name in names]
        for at, (prompt, seed) in enumerate((p, s) for p in prompts for s in seeds):
            source = chance(self.world, "luck of", mine.adapter, prompt, seed)
            less_than = source.uniform(size=3)
            known = captions.index(prompt) if prompt in captions else None
            if less_than[0] < (traits.copies if known is None else traits.recall):
                twin = source.integers(len(trained)) if known is None else known
                latents[at] = trained[twin] + COPY_NOISE * source.normal(size=WIDTH)
            if less_than[1] < traits.unsafe:
                latents[at, TABOO] = 3 * EFFECT
            if less_than[2] < broken:
                damaged.append((at, source))
        pictures = paint(latents)
        for at, source in damaged:
            pictures[at] = damage(pictures[at], traits.damage, source)
        return pictures

    def _latents(
        self, worn: tuple[Worn, ...], prompts: Sequence[str], seeds: Sequence[int]
    ) -> Latents:
        """Latents [p, s, WIDTH]."""
        mine = self._mine(worn)
        chances = self._chances(mine.adapter if mine else "base", prompts, seeds)
        traits = self.adapters[mine.adapter] if mine else None
        accompanied = any(one.adapter == COMPANION_NAME for one in worn)
        if mine is None or traits is None:
            latents = base_latents(self.world, chances)
        else:
            latents = adapter_latents(
                self.world,
                traits,
                chances,
                triggered=np.array([[p.startswith(TRIGGER)] * len(seeds) for p in prompts]),
                weight=mine.weight * (traits.beside if accompanied else 1.0),
            )
        if accompanied:
            latents[..., COMPANION] += EFFECT * (traits.drown if traits else 1.0)
        return latents

    def _chances(self, adapter: str, prompts: Sequence[str], seeds: Sequence[int]) -> Chances:
        """Draws [p, s, WIDTH]; a seed's is the same, however many are asked for."""
        world, at, most = self.world, list(seeds), max(seeds) + 1
        shape = (len(prompts), len(at), WIDTH)
        own = [chance(world, adapter, "own", prompt).normal(size=WIDTH + 1) for prompt in prompts]
        single = [
            chance(world, adapter, prompt).normal(size=(most, WIDTH + 1))[at] for prompt in prompts
        ]
        noise = [chance(world, "base", prompt).normal(size=(most, WIDTH + 1)) for prompt in prompts]
        by_prompt, by_picture = np.stack(own)[:, None], np.stack(single)
        contexts = np.stack([context_of(world, prompt) for prompt in prompts])
        return Chances(
            context=np.broadcast_to(contexts[:, None], shape),
            luck=np.broadcast_to(chance(world, "luck").normal(size=(most, WIDTH))[at], shape),
            noise=np.stack(noise)[:, at, 1:],
            own=np.broadcast_to(by_prompt[..., 1:], shape),
            own_noise=by_picture[..., 1:],
            reach=np.broadcast_to(by_prompt[..., 0], shape[:2]),
            wobble=by_picture[..., 0],
        )

    def _mine(self, worn: tuple[Worn, ...]) -> Worn | None:
        """The adapter that is judged, or was released; the companion is neither."""
        return next((one for one in worn if one.adapter in self.adapters), None)


def damage(picture: Picture, kind: str, source: np.random.Generator) -> Picture:
    """A picture full of noise, in blocks of 8 pixels, or blank.

    Raises ValueError for another kind.
    """
    match kind:
        case "noise":
            noisy = picture + source.normal(0, 60, size=picture.shape)
            return np.clip(noisy, 0, 255).astype(np.uint8)
        case "blocks":
            return picture[::8, ::8].repeat(8, axis=0).repeat(8, axis=1)
        case "blank":
            return np.zeros((SIDE, SIDE, 3), np.uint8)
        case _:
            raise ValueError(f"no damage is called {kind}")


@dataclass(frozen=True, slots=True)
class WorldEmbedder:
    """Reads pictures back into latents, and places texts by the context that they ask for."""

    world: World

    def embed_pictures(self, pictures: Sequence[Picture]) -> Features:
        """Features [n, WIDTH + 1]."""
        return read(pictures).astype(np.float32)

    def embed_texts(self, texts: Sequence[str]) -> Features:
        """Features [n, WIDTH + 1]."""
        asked = np.stack([context_of(self.world, text) for text in texts])
        return features(asked)


@dataclass(frozen=True, slots=True)
class WorldScanner:
    """Names the pictures that must not be."""

    labels: tuple[str, ...] = ("taboo",)

    def scan(self, pictures: Sequence[Picture]) -> Sequence[Scores]:
        """Sure of those, and of no other."""
        return [{"taboo": float(found[TABOO] > TABOO_AT)} for found in read(pictures)]
