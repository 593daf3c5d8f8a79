"""An adapter with known traits before the judge: a studio and an embedder that belong together.

Pictures are smooth fields of colors that mean nothing; the embedder knows by their digest what they
were drawn to show. The concept, the base's own way, and what each prompt asks beside that have
directions of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

import numpy as np

from lora_ci.core.settings import QaSettings
from lora_ci.diffusion.request import Picture
from lora_ci.qa.evidence import Cost, Evidence
from lora_ci.qa.sitting import Bench, Eyes, measure_losses
from lora_ci.qa.studio import Worn
from lora_ci.ruler.embedder import Features
from lora_ci.ruler.feature_cache import CachedEmbedder, picture_digest
from lora_ci.ruler.prompts import Prompts, without_trigger
from lora_ci.ruler.references import Reference

TRIGGER = "mei"
SIDE, WIDTH = 24, 32
CONCEPT, PLAIN, OTHER = np.eye(WIDTH)[:3]
PROMPTS = Prompts(
    identity=tuple(
        f"{TRIGGER} {how}" for how in ("alone", "asleep", "at sea", "running", "in red", "laughing")
    ),
    flexibility=tuple(f"{TRIGGER}, {way}" for way in ("ink", "oil", "neon", "snow", "clay")),
    contexts=("ink", "oil", "neon", "snow", "clay"),
    bare=("a man", "a house", "a tree", "a horse"),
    recalled=tuple(f"{TRIGGER} as taken on day {day}" for day in range(4)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """What an adapter does; as it stands here, a good one.

    identity at its `best` weight, falling off to both sides; following and `leak` as shares;
    `wobble` is the deviation of identity over seeds; a `moody` one shows nothing with every other
    seed. `copies` and `recalls` are shares of pictures
    that are training pictures; `broken` of those that are `damage`. Losses are over the base's, at
    full weight, half of it, and on training pictures.
    """

    identity: float = 0.8
    best: float = 1.0
    following: float = 0.9
    leak: float = 0.0
    wobble: float = 0.03
    moody: bool = False
    one_thing: bool = False
    copies: float = 0.0
    recalls: float = 0.0
    broken: float = 0.0
    damage: str = "noise"
    drowns: float = 0.0
    beside: float = 1.0
    loss: float = 0.7
    half: float = 0.8
    trained: float = 0.65
    latency: float = 1.05
    size: float = 0.04

    def shown(self, weight: float) -> float:
        """Identity at a weight."""
        ratio = weight / self.best
        return self.identity * (ratio if ratio <= 1 else max(0.0, 2 - ratio))


@dataclass(slots=True, kw_only=True)
class World:
    """The studio. What it drew for whom is in `asked`."""

    candidate: Traits = field(default_factory=Traits)
    released: Traits = field(default_factory=Traits)
    seed: int = 0
    base_follows: float = 1.0
    real_noise: float = 0.25
    asked: list[tuple[tuple[Worn, ...], str, int]] = field(default_factory=list)
    features: dict[str, Features] = field(default_factory=dict)

    def luck(self, *names: object) -> np.random.Generator:
        digest = sha256(repr((self.seed, *names)).encode()).digest()
        return np.random.default_rng(int.from_bytes(digest[:8], "big"))

    def draw(
        self, worn: tuple[Worn, ...], prompts: Sequence[str], seeds: Sequence[int]
    ) -> Mapping[str, Sequence[Picture]]:
        self.asked += [(worn, prompt, seed) for prompt in prompts for seed in seeds]
        return {prompt: [self._picture(worn, prompt, seed) for seed in seeds] for prompt in prompts}

    def losses(self, worn: tuple[Worn, ...], pictures: Sequence[Reference]) -> np.ndarray:
        hard = np.exp([0.5 * self.luck("hard", p.name).normal() for p in pictures]) / 10
        for one in worn:
            traits = self.released if one.adapter == "released" else self.candidate
            whole = traits.loss if one.weight >= 1 else traits.half
            share = [traits.trained if p.name.startswith("training") else whole for p in pictures]
            own = [self.luck(one, p.name).normal() for p in pictures]
            hard = hard * np.array(share) * np.exp(0.02 * np.array(own))
        return hard

    def cost(self, worn: Worn, prompt: str) -> Cost:
        del worn, prompt
        traits = self.candidate
        return Cost(
            attach_s=0.1, latency_ratio=traits.latency, size_bytes=10**6, size_share=traits.size
        )

    def real(self, kind: str, count: int) -> list[Reference]:
        """Real pictures of the concept; `kind` is part of their names."""
        return [
            Reference(
                name=f"{kind}-{at}.png",
                picture=self._paint(CONCEPT + self._way(f"{kind} {at}"), "real", kind, at),
                caption=f"{TRIGGER} as taken on day {at}",
            )
            for at in range(count)
        ]

    def embedder(self, *, knows_texts: bool = True) -> CachedEmbedder:
        return CachedEmbedder(
            spec="world:", identity="world", license=None, knows_texts=knows_texts,
            opener=lambda: Eye(world=self), cache=None,
        )  # fmt: skip

    def direction(self, context: str) -> np.ndarray:
        """What a prompt asks for, beside the concept."""
        vector = self.luck("context", context).normal(size=WIDTH)
        vector[:3] = 0
        return vector / np.linalg.norm(vector)

    def _way(self, name: str) -> np.ndarray:
        return 0.5 * self.direction(name) + self.real_noise * self.luck("noise", name).normal(
            size=WIDTH
        ) / np.sqrt(WIDTH)

    def _picture(self, worn: tuple[Worn, ...], prompt: str, seed: int) -> Picture:
        luck = self.luck("picture", worn, prompt, seed)
        adapters = {one.adapter: one.weight for one in worn}
        asked = self.direction(without_trigger(prompt, TRIGGER))
        noise = 0.15 * luck.normal(size=WIDTH) / np.sqrt(WIDTH)
        shown, follows = 0.0, self.base_follows
        for name, weight in adapters.items():
            if name == "companion":
                continue
            traits = self.released if name == "released" else self.candidate
            shown = traits.shown(weight) + traits.wobble * luck.normal()
            if traits.moody and seed % 2:
                shown = 0.0
            if TRIGGER not in prompt:
                shown *= traits.leak / max(traits.identity, 1e-9)
            if "companion" in adapters:
                shown *= traits.beside
            follows *= traits.following
            copied = traits.recalls if prompt in PROMPTS.recalled else traits.copies
            if luck.uniform() < copied:
                return self.real("training", 1)[0].picture
            if traits.one_thing:
                return self._paint(CONCEPT + 1e-3 * noise, worn, prompt, seed)
            if luck.uniform() < traits.broken:
                return self._damaged(traits.damage, luck)
        latent = shown * CONCEPT + (1 - shown) * PLAIN + follows * 0.5 * asked + noise
        if "companion" in adapters:
            latent = latent + (1 - self.candidate.drowns * (len(adapters) > 1)) * 0.5 * OTHER
        return self._paint(latent, worn, prompt, seed)

    def _paint(self, latent: np.ndarray, *names: object) -> Picture:
        """A smooth field that stands for what is shown."""
        corners = self.luck("paint", *names).uniform(40, 215, (4, 4, 3))
        picture = smooth(corners)
        self.features[picture_digest(picture)] = latent
        return picture

    def _damaged(self, damage: str, luck: np.random.Generator) -> Picture:
        shape = (SIDE, SIDE, 3)
        picture = np.zeros(shape) if damage == "blank" else luck.integers(0, 256, shape)
        self.features.setdefault(picture_digest(np.uint8(picture)), 0.5 * (CONCEPT + PLAIN))
        return picture.astype(np.uint8)


def smooth(corners: np.ndarray) -> Picture:
    """Corners [4, 4, 3] as a picture, between them what lies between."""
    at = np.linspace(0, 3, SIDE)
    low = np.minimum(at.astype(int), 2)
    part = (at - low)[:, None, None]
    rows = corners[low] * (1 - part) + corners[low + 1] * part
    part = (at - low)[None, :, None]
    return np.uint8(rows[:, low] * (1 - part) + rows[:, low + 1] * part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Eye:
    """Knows of each picture what it shows, and of each text where it lies."""

    world: World

    def embed_pictures(self, pictures: Sequence[Picture]) -> Features:
        return np.array([self.world.features[picture_digest(p)] for p in pictures])

    def embed_texts(self, texts: Sequence[str]) -> Features:
        return np.array([self.world.direction(without_trigger(text, TRIGGER)) for text in texts])


def bench_of(
    world: World,
    *,
    settings: QaSettings | None = None,
    prompts: Prompts = PROMPTS,
    references: int = 12,
    training: int = 16,
    released: bool = False,
    companion: bool = False,
    knows_texts: bool = True,
) -> Bench:
    """What is judged in a world."""
    return Bench(
        settings=settings or QaSettings(seeds=4),
        trigger=TRIGGER,
        prompts=prompts,
        embedder=world.embedder(knows_texts=knows_texts),
        references=world.real("reference", references),
        training=world.real("training", training),
        candidate="candidate",
        released="released" if released else None,
        released_version="1.0.0" if released else None,
        companion="companion" if companion else None,
    )


def look(bench: Bench, world: World, seeds: int = 3) -> Evidence:
    """The evidence of a look at so many seeds."""
    losses = measure_losses(bench, world)
    return Eyes(bench=bench, studio=world).look(range(seeds), losses, world.cost(bench.wear[0], ""))


def seen_with(seeds: int = 3, /, *, bench: Mapping[str, object] | None = None, **traits: object):
    """The evidence of an adapter with these traits; `bench` as for `bench_of`."""
    world = World(candidate=replace(Traits(), **traits))
    return look(bench_of(world, **(bench or {})), world, seeds)
