"""Makes the pictures of a round and takes every measure of them that can be taken."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lora_ci.diffusion.attach import attach, detach
from lora_ci.diffusion.generate import DiffusersGenerator, Picture
from lora_ci.diffusion.load import BaseModel
from lora_ci.formats.adapter import Adapter
from lora_ci.qa.comparison import compare, paired_difference
from lora_ci.qa.five_tests import (
    Cost,
    Following,
    artifact_test,
    consistency_test,
    flexibility_test,
    identity_test,
    performance_test,
)
from lora_ci.qa.scores import Score, unmeasured
from lora_ci.qa.side_effects import leakage, memorization, variety
from lora_ci.qa.verdict import Measured
from lora_ci.ruler.album import Album, Maker
from lora_ci.ruler.defects import defects, sound_range
from lora_ci.ruler.embedder import TextEmbedder
from lora_ci.ruler.held_out import held_out_losses
from lora_ci.ruler.likeness import Scale, find_scale, similarity
from lora_ci.ruler.prompts import Prompts
from lora_ci.ruler.references import Reference
from lora_ci.ruler.statistics import Interval

TIMED_PICTURES = 2
TIMED_ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """An adapter under judgement, or the released one it is compared with."""

    adapter: Adapter
    sha256: str
    size_bytes: int
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """All that a measurement needs; the same for every round."""

    model: BaseModel
    album: Album
    prompts: Prompts
    references: Sequence[Reference]
    training: Sequence[Reference]
    candidate: Subject
    released: Subject | None
    weight: float
    trigger: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """Losses on the references, [references]; `released` is None where nothing is released."""

    base: NDArray[np.float64]
    adapter: NDArray[np.float64]
    released: NDArray[np.float64] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Pictures by prompt, one a seed. `released` is None where nothing is released yet."""

    base: Mapping[str, list[Picture]]
    adapter: Mapping[str, list[Picture]]
    released: Mapping[str, list[Picture]] | None


def measure_cost(bench: Bench) -> Cost:
    """Times the candidate against the base, in turns; processor time, so that others do no harm."""
    started = time.process_time()
    attached = attach(bench.model, bench.candidate.adapter, bench.weight)
    attach_s = time.process_time() - started
    request = bench.album.request(bench.prompts.identity[0], 0)
    generator = DiffusersGenerator(bench.model, attached)
    times: dict[float, list[float]] = {0.0: [], bench.weight: []}
    for _ in range(TIMED_ROUNDS):
        for weight, taken in times.items():
            requests = [
                replace(request, weight=weight, seed=seed) for seed in range(TIMED_PICTURES)
            ]
            started = time.process_time()
            generator.generate(requests)
            taken.append(time.process_time() - started)
    detach(attached)
    parts = (bench.model.denoiser, *bench.model.text_encoders.values())
    base_values = sum(p.numel() for part in parts for p in part.parameters())
    values = sum(la.up.numel() + la.down.numel() for la in bench.candidate.adapter.layers.values())
    return Cost(
        attach_s=attach_s,
        latency_ratio=min(times[bench.weight]) / max(min(times[0.0]), 1e-9),
        size_bytes=bench.candidate.size_bytes,
        size_share=values / base_values,
    )


def measure_losses(bench: Bench) -> HeldOut | None:
    """The loss on the references of base, candidate and released; None without references."""
    if not bench.references:
        return None

    def losses(subject: Subject | None) -> NDArray[np.float64]:
        attached = attach(bench.model, subject.adapter, bench.weight) if subject else None
        try:
            return held_out_losses(bench.model, bench.references, bench.trigger)
        finally:
            if attached:
                detach(attached)

    return HeldOut(
        base=losses(None),
        adapter=losses(bench.candidate),
        released=losses(bench.released) if bench.released else None,
    )


def make_round(bench: Bench, seeds: Sequence[int]) -> Round:
    """Makes the pictures: the base's first, then the candidate's, then the released one's."""
    prompts, base = bench.prompts, bench.model.content_id or ""
    asked = (*prompts.identity, *prompts.flexibility, *prompts.bare)
    maker = Maker(identity=(base,), generator=DiffusersGenerator(bench.model), weight=0.0)
    of_base = bench.album.pictures(maker, asked, seeds)

    def with_adapter(subject: Subject, asked: Sequence[str]) -> dict[str, list[Picture]]:
        attached = attach(bench.model, subject.adapter, bench.weight)
        maker = Maker(
            identity=(base, subject.sha256),
            generator=DiffusersGenerator(bench.model, attached),
            weight=bench.weight,
        )
        try:
            return bench.album.pictures(maker, asked, seeds)
        finally:
            detach(attached)

    return Round(
        base=of_base,
        adapter=with_adapter(bench.candidate, asked),
        released=with_adapter(bench.released, prompts.identity) if bench.released else None,
    )


def measure(bench: Bench, made: Round, cost: Cost, held_out: HeldOut | None) -> Measured:
    """Every test and side effect; those that need a scale only where there is one."""
    prompts, features = bench.prompts, bench.album.features
    artifact, sound = artifact_test(_defects(bench, made))
    performance = performance_test(cost)
    metrics: dict[str, Interval | float] = {
        "sound": sound,
        "latency_ratio": cost.latency_ratio,
        "size_share": cost.size_share,
    }
    difference = comparison = None
    if held_out:
        metrics["loss.against-base"] = paired_difference(held_out.adapter, held_out.base)
    if held_out and held_out.released is not None and bench.released:
        difference = paired_difference(held_out.adapter, held_out.released)
        comparison = compare(difference, bench.released.version)
    base = features(made.base, prompts.identity)
    adapter = features(made.adapter, prompts.identity)
    scale, problem = find_scale(bench.album.embed([r.picture for r in bench.references]), base)
    if scale is None:
        names = ("identity", "flexibility", "consistency")
        lacking = [unmeasured(name, problem) for name in names]
        tests = (lacking[0], lacking[1], artifact, lacking[2], performance)
        return Measured(
            tests=tests,
            metrics=metrics | _scores(tests),
            difference=difference,
            comparison=comparison,
            problems=(problem,),
        )
    identity, identity_value = identity_test(scale, adapter, base)
    flexibility, flexibility_value = _flexibility(bench, scale, made)
    consistency, spread = consistency_test(scale, adapter)
    metrics |= {
        "power": scale.power,
        "identity": identity_value,
        "variety": variety(scale, adapter, base),
    }
    if flexibility_value:
        metrics["flexibility"] = flexibility_value
    if spread:
        metrics["spread"] = spread
    if prompts.bare:
        bare = features(made.adapter, prompts.bare), features(made.base, prompts.bare)
        metrics["leakage"] = leakage(scale, *bare)
    if bench.training:
        training = bench.album.embed([r.picture for r in bench.training])
        metrics["memorization"] = memorization(adapter, training, scale.references)
    tests = (identity, flexibility, artifact, consistency, performance)
    return Measured(
        tests=tests,
        metrics=metrics | _scores(tests),
        similarity=similarity(scale, adapter),
        difference=difference,
        comparison=comparison,
    )


def _defects(bench: Bench, made: Round) -> list[tuple[str, ...]]:
    """What is wrong with each picture that names the trigger."""
    sound = sound_range(
        [p for row in made.base.values() for p in row] + [r.picture for r in bench.references]
    )
    asked = (*bench.prompts.identity, *bench.prompts.flexibility)
    return [defects(picture, sound) for prompt in asked for picture in made.adapter[prompt]]


def _flexibility(bench: Bench, scale: Scale, made: Round) -> tuple[Score, Interval | None]:
    album, prompts = bench.album, bench.prompts
    if not isinstance(album.embedder, TextEmbedder):
        return unmeasured("flexibility", "the embedder knows no texts (use a CLIP model)"), None
    following = Following(
        adapter=album.features(made.adapter, prompts.flexibility),
        base=album.features(made.base, prompts.flexibility),
        contexts=album.embedder.embed_texts(prompts.contexts),
    )
    return flexibility_test(scale, following)


def _scores(tests: Sequence[Score]) -> dict[str, Interval | float]:
    return {
        f"score.{t.name}": Interval(mean=t.score, low=t.low, high=t.high, n=1)
        for t in tests
        if t.score is not None
    }
