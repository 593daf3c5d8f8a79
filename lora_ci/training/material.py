"""What is trained on, step by step: pictures in buckets, encoded, with all that chance decides."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lora_ci.core.buckets import Bucket, buckets_of, choose, growth, square, views_of
from lora_ci.core.finding import Finding
from lora_ci.core.settings import TrainSettings
from lora_ci.diffusion.load import BaseModel
from lora_ci.diffusion.objective import Objective, objective_of
from lora_ci.store.cache import prune
from lora_ci.training.batch import Batch, Picture, Reader
from lora_ci.training.captions import orders_of
from lora_ci.training.data import Sample, hold_out
from lora_ci.training.draws import Draws, Pool, noise_of, seeded
from lora_ci.training.encode import Told, Wanted
from lora_ci.training.entries import LIMIT_BYTES
from lora_ci.training.findings import caption_findings, enlarged_finding, large_cache_finding
from lora_ci.training.pictures import read_size
from lora_ci.training.shards import Part
from lora_ci.training.shelf import CAPTIONS, LATENTS, MEMORY_BYTES, Shelf
from lora_ci.training.supply import Supply

# Each held-out picture is measured at so many times, from little to much noise.
VALIDATION_TIMES = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Material:
    """What a training learns from. `batch` is a function of the step alone.

    `epoch_images` are the images of one epoch, regularization included, held-out pictures not.
    `validation` has the held-out pictures, with noise and times that are the same in every
    training; `remarks` are findings about the data.
    """

    epoch_images: int
    pictures: tuple[Picture, ...]
    validation: tuple[Batch, ...]
    remarks: tuple[Finding, ...]
    settings: TrainSettings
    objective: Objective
    draws: Draws
    reader: Reader
    limit_bytes: int

    @property
    def dataset_pictures(self) -> int:
        """Pictures of the dataset, each once; regularization pictures are none."""
        return len({number for pool in self.draws.pools for number in pool.dataset})

    @property
    def encoded_pictures(self) -> int:
        """Views of pictures that were not in the cache, so far."""
        return self.reader.supply.made_views

    @property
    def encoded_captions(self) -> int:
        """Captions that were not in the cache, so far."""
        return self.reader.supply.made_captions

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The remarks, and one if what was used so far is more than the cache keeps."""
        used = sum(self.reader.supply.shelf.used.values())
        return (*self.remarks, *large_cache_finding(used, self.limit_bytes))

    @property
    def buckets(self) -> Mapping[str, int]:
        """Pictures by bucket, for people."""
        return dict(sorted(Counter(str(picture.bucket) for picture in self.pictures).items()))

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0. Raises InfrastructureError if its cache is gone."""
        draw = self.draws.draw(step)
        rows = []
        for number, crop, mirrored, dropped, order in zip(
            draw.pictures, draw.crops, draw.mirrored, draw.dropped, draw.orders, strict=True
        ):
            picture = self.pictures[number]
            view = picture.views[int(crop * len(picture.views))]
            caption = picture.captions[int(order * len(picture.captions))]
            mirror = mirrored and self.settings.flip
            rows.append((picture, replace(view, mirrored=mirror), "" if dropped else caption))
        times = self.objective.draw_times(len(rows), draw.source)
        latents = self.reader.latents(rows)
        noise = noise_of(draw.source, latents.shape, self.settings.noise_offset)
        return self.reader.batch(rows, latents, noise, times)


def build_material(
    model: BaseModel,
    samples: Sequence[Sample],
    settings: TrainSettings,
    *,
    trigger: str,
    cache: Path,
    regularization: Sequence[Sample] = (),
    part: Part | None = None,
    told: Told = lambda *_: None,
    begin: float = 0.0,
    at_once: bool = True,
    limit_bytes: int = LIMIT_BYTES,
    memory_bytes: int = MEMORY_BYTES,
) -> Material:
    """Encodes what the cache below `cache` has not, and keeps the cache below `limit_bytes`.

    All of it `at_once`, or else what is held out now and the rest when a step needs it. Of several
    processes with the same task each is given another `begin` in [0, 1): they share the work. As
    much of it as fits in `memory_bytes` is held in memory, the rest is read for each step. With a
    `part` that is learned from; what is held out is the same for all parts, and in none of them.

    `model` needs its `content_id`; with a warm cache its VAE and text encoders are not touched, and
    they are let go of as soon as all is encoded.

    Raises:
        InputError: a picture cannot be decoded.
        OSError: the disk of the cache is full.
    """
    if model.content_id is None:
        raise ValueError("nothing is cached for a base model without a content id")
    learned, held = hold_out(samples, settings.validation_share)
    if part:
        learned = list(part.of(learned))
        samples = [*learned, *held]
    sides = _sides(model, settings)
    plain = replace(settings, crop="center", shuffle_captions=False)
    pictures = tuple(
        _picture(sample, sides, how, trigger, weight)
        for some, how, weight in (
            (learned, settings, 1.0),
            (regularization, settings, settings.prior_weight),
            (held, plain, 1.0),
        )
        for sample in some
    )
    shelf = Shelf(cache=cache, base=model.content_id, dtype=model.dtype, memory_bytes=memory_bytes)
    trained = len(learned) + len(regularization)
    wanted = [_wanted(p, mirrored=settings.flip and i < trained) for i, p in enumerate(pictures)]
    supply = Supply(shelf=shelf, model=model)
    texts = [] if settings.text_encoder else _texts(pictures)

    def settle() -> None:
        """Frees what encodes no more, and keeps the cache within its bounds."""
        if not supply.views:
            model.let_go("vae")
        if not (supply.captions or settings.text_encoder):
            model.let_go(*model.family.text_encoders)
        if supply.made_views or supply.made_captions:
            prune([cache / LATENTS, cache / CAPTIONS], limit_bytes, shelf.used)

    supply.settled = settle
    supply.encode(wanted if at_once else wanted[trained:], texts if at_once else [], told, begin)
    if not at_once:
        supply.put_off(wanted[:trained], texts)
    settle()
    reader = Reader(
        supply=supply, sized=model.family.name == "sdxl", encoded=not settings.text_encoder
    )
    pools = _pools(pictures[:trained], len(learned))
    objective = objective_of(model)
    return Material(
        epoch_images=sum(s.repeats for s in learned) * (2 if regularization else 1),
        pictures=pictures[:trained],
        validation=_validation(reader, pictures[trained:], objective, settings.batch_size),
        remarks=_findings(samples, regularization, trigger, pictures, settings),
        settings=settings,
        objective=objective,
        draws=Draws(
            seed=settings.seed,
            batch=settings.batch_size,
            dropout=settings.caption_dropout,
            pools=pools,
        ),
        reader=reader,
        limit_bytes=limit_bytes,
    )


def _sides(model: BaseModel, settings: TrainSettings) -> tuple[Bucket, ...]:
    """The buckets; their sides are such that the model takes them."""
    step = math.lcm(settings.bucket_step, model.side_step)
    if settings.in_buckets and step <= settings.resolution:
        return buckets_of(settings.resolution, step)
    return (square(settings.resolution, model.side_step),)


def _picture(
    sample: Sample,
    buckets: Sequence[Bucket],
    settings: TrainSettings,
    trigger: str,
    weight: float,
) -> Picture:
    size = read_size(sample)
    orders: tuple[str, ...] = (sample.caption,)
    if settings.shuffle_captions:
        orders = orders_of(sample.caption, trigger, settings.keep_tags)
    return Picture(
        sample=sample,
        size=size,
        views=views_of(size, choose(size, buckets), settings.crop),
        captions=orders,
        weight=weight,
    )


def _wanted(picture: Picture, *, mirrored: bool) -> Wanted:
    """The picture with its views, and with their mirror images if they are drawn too."""
    mirrors = [replace(view, mirrored=True) for view in picture.views] if mirrored else []
    return picture.sample, [*picture.views, *mirrors]


def _texts(pictures: Sequence[Picture]) -> list[str]:
    """All captions that may be drawn, the empty one too."""
    return [*dict.fromkeys(text for picture in pictures for text in picture.captions), ""]


def _pools(pictures: Sequence[Picture], learned: int) -> tuple[Pool, ...]:
    """The pictures by bucket, as numbers; the first `learned` are the dataset's."""
    dataset: dict[Bucket, list[int]] = {picture.bucket: [] for picture in pictures}
    regularization: dict[Bucket, list[int]] = {bucket: [] for bucket in dataset}
    for number, picture in enumerate(pictures):
        kind = dataset if number < learned else regularization
        kind[picture.bucket] += [number] * picture.sample.repeats
    return tuple(
        Pool(
            bucket=bucket,
            dataset=tuple(dataset[bucket]),
            regularization=tuple(regularization[bucket]),
        )
        for bucket in sorted(dataset)
    )


def _validation(
    reader: Reader, pictures: Sequence[Picture], objective: Objective, size: int
) -> tuple[Batch, ...]:
    """The held-out pictures at VALIDATION_TIMES each; noise comes from a picture's content."""
    times = objective.even_times(VALIDATION_TIMES)
    batches = []
    for bucket in sorted({picture.bucket for picture in pictures}):
        mine = [picture for picture in pictures if picture.bucket == bucket]
        rows = [(p, p.views[0], p.sample.caption, n) for p in mine for n in range(len(times))]
        for first in range(0, len(rows), size):
            part = rows[first : first + size]
            latents = reader.latents([row[:3] for row in part])
            noise = [
                torch.randn(latents.shape[1:], generator=seeded("validation", p.sample.sha256, n))
                for p, _, _, n in part
            ]
            numbers = torch.tensor([n for *_, n in part])
            batches.append(
                reader.batch([row[:3] for row in part], latents, torch.stack(noise), times[numbers])
            )
    return tuple(batches)


def _findings(
    samples: Sequence[Sample],
    regularization: Sequence[Sample],
    trigger: str,
    pictures: Sequence[Picture],
    settings: TrainSettings,
) -> tuple[Finding, ...]:
    scales = [(p.sample, growth(p.size, p.views[0])) for p in pictures]
    enlarged = [(sample, scale) for sample, scale in scales if scale > 1]
    return (
        *caption_findings(samples, trigger, "pictures"),
        *caption_findings(regularization, "", "regularization pictures"),
        *enlarged_finding(enlarged, len(pictures), settings.resolution),
    )
