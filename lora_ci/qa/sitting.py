"""The judge at work: a look at few seeds, then at more of them, until the verdict is sure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from lora_ci.core.settings import QaSettings
from lora_ci.core.step import Outcome
from lora_ci.qa.evidence import Composed, Cost, Evidence, Losses, Shown, Views
from lora_ci.qa.held_out import not_held_out
from lora_ci.qa.measures.table import MEASURES
from lora_ci.qa.reading import Reading
from lora_ci.qa.studio import Studio, Worn
from lora_ci.qa.verdict import Verdict, judge
from lora_ci.ruler.defects import sound_range
from lora_ci.ruler.feature_cache import CachedEmbedder, picture_digest
from lora_ci.ruler.likeness import find_scale
from lora_ci.ruler.prompts import FIRST_SEEDS, STRENGTH_SEEDS, Prompts, spread
from lora_ci.ruler.references import Reference
from lora_ci.ruler.safety import PictureScanner, flagged
from lora_ci.ruler.seen import Seen, find_seen
from lora_ci.ruler.spending import spend

# A dataset may have few captions, or one: there more seeds are asked.
RECALLED_PICTURES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What is judged, and with what. Adapters are named by the sha256 of their files."""

    settings: QaSettings
    trigger: str
    prompts: Prompts
    embedder: CachedEmbedder
    references: Sequence[Reference]
    training: Sequence[Reference]
    candidate: str
    released: str | None = None
    released_version: str | None = None
    companion: str | None = None
    scanner: PictureScanner | None = None

    @property
    def most_pictures(self) -> int:
        """How many pictures are asked for if every look is taken; earlier ones are asked again."""
        every, identity = len(self.prompts.every), len(self.prompts.identity)
        rows = 2 * every + identity * (bool(self.released) + 2 * bool(self.companion))
        looks = seed_counts(self.settings.seeds)
        strengths = len(set(self.settings.strengths)) * len(self.prompts.strength) * STRENGTH_SEEDS
        return rows * sum(looks) + strengths

    @property
    def wear(self) -> tuple[Worn, ...]:
        """The candidate at the weight that it is judged at."""
        return (Worn(adapter=self.candidate, weight=self.settings.weight),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at so many seeds a prompt, and the error it was allowed."""

    seeds: int
    error: float
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Sitting:
    """The last look, and what came of it; there were `most_seeds` a prompt to be had."""

    evidence: Evidence
    readings: Mapping[str, Reading]
    verdict: Verdict
    looks: tuple[Look, ...]
    most_seeds: int


def sit(bench: Bench, studio: Studio) -> Sitting:
    """Judges. Raises Interrupted when asked to stop; what was made by then is kept by the studio.

    Looks are at 2, 4, 8, … seeds a prompt. All looks together err no more than `qa.error`, and so
    do losses, which are measured once.
    """
    eyes = Eyes(bench=bench, studio=studio)
    losses, cost = measure_losses(bench, studio), measure_cost(bench, studio)
    settings = bench.settings
    counts = seed_counts(settings.seeds)
    errors = spend([count / counts[-1] for count in counts], settings.error)
    measures = [m for m in MEASURES if m.name not in settings.skip]
    looks: tuple[Look, ...] = ()
    for count, error in zip(counts, errors, strict=True):
        evidence = eyes.look(range(count), losses, cost)
        readings = {m.name: m.run(evidence) for m in measures}
        verdict = judge(MEASURES, readings, settings.gates, error, whole=settings.error)
        looks = (*looks, Look(seeds=count, error=error, outcome=verdict.outcome))
        if count == counts[-1] or not verdict.unsure:
            return Sitting(
                evidence=evidence,
                readings=readings,
                verdict=verdict,
                looks=looks,
                most_seeds=counts[-1],
            )
    raise AssertionError("the last look always returns")


def seed_counts(most: int) -> tuple[int, ...]:
    """Numbers of seeds to look at: 2, 4, 8, … up to `most`, which is always the last."""

    def counts() -> Iterator[int]:
        count = min(FIRST_SEEDS, most)
        while count < most:
            yield count
            count *= 2
        yield most

    return tuple(counts())


def measure_losses(bench: Bench, studio: Studio) -> Losses | None:
    """On the references, and on as many training pictures; None without references."""
    if not bench.references:
        return None
    trained = spread(bench.training, len(bench.references))
    skipped, weight = bench.settings.skip, bench.settings.weight
    nothing = np.zeros(0)

    def losses(worn: tuple[Worn, ...], pictures: Sequence[Reference]) -> NDArray[np.float64]:
        return studio.losses(worn, pictures) if pictures else nothing

    released = (Worn(adapter=bench.released, weight=weight),) if bench.released else ()
    half = (Worn(adapter=bench.candidate, weight=weight / 2),)
    return Losses(
        base=losses((), bench.references),
        adapter=losses(bench.wear, bench.references),
        half=None if "strength" in skipped else losses(half, bench.references),
        released=losses(released, bench.references) if released else None,
        base_trained=nothing if "loss-gap" in skipped else losses((), trained),
        adapter_trained=nothing if "loss-gap" in skipped else losses(bench.wear, trained),
    )


def measure_cost(bench: Bench, studio: Studio) -> Cost:
    """On the first identity prompt."""
    return studio.cost(bench.wear[0], bench.prompts.identity[0])


@dataclass(kw_only=True)
class Eyes:
    """Looks at what the studio draws; what is the same at every look is seen once."""

    bench: Bench
    studio: Studio
    _scanned: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def look(self, seeds: Sequence[int], losses: Losses | None, cost: Cost | None) -> Evidence:
        """The evidence of so many seeds. The base draws first: its pictures serve other LoRAs."""
        bench, prompts = self.bench, self.bench.prompts
        base = self._views((), prompts.every, seeds)
        adapter = self._views(bench.wear, prompts.every, seeds)
        recalled = self._recalled(seeds)
        scale, problem = find_scale(self._references.features, base.of(prompts.identity))
        if self._seen:
            scale, problem = None, not_held_out(self._seen, len(bench.references))
        return Evidence(
            prompts=prompts,
            trigger=bench.trigger,
            weight=bench.settings.weight,
            base=base,
            adapter=adapter,
            released=self._released(seeds),
            released_version=bench.released_version,
            strengths=self._strengths,
            composed=self._composed(seeds),
            recalled=recalled,
            references=self._references,
            training=self._training,
            seen=self._seen,
            sound=sound_range([*base.drawn(prompts.every), *(r.picture for r in bench.references)]),
            scale=scale,
            no_scale=problem,
            texts=self._texts,
            losses=losses,
            cost=cost,
            unsafe=self._unsafe(adapter, recalled),
        )

    def _views(self, worn: tuple[Worn, ...], prompts: Sequence[str], seeds: Sequence[int]) -> Views:
        made = self.studio.draw(worn, prompts, seeds)
        flat = self.bench.embedder.embed_pictures([p for prompt in prompts for p in made[prompt]])
        by_prompt = np.reshape(flat, (len(prompts), len(seeds), -1))
        return Views(pictures=made, features=dict(zip(prompts, by_prompt, strict=True)))

    @cached_property
    def _references(self) -> Shown:
        return self._shown(self.bench.references)

    @cached_property
    def _training(self) -> Shown:
        return self._shown(self.bench.training)

    @cached_property
    def _seen(self) -> tuple[Seen, ...]:
        return find_seen(self.bench.references, self.bench.training)

    def _shown(self, pictures: Sequence[Reference]) -> Shown:
        features = self.bench.embedder.embed_pictures([one.picture for one in pictures])
        return Shown(pictures=pictures, features=features)

    def _released(self, seeds: Sequence[int]) -> Views | None:
        bench = self.bench
        if bench.released is None or "regression" in bench.settings.skip:
            return None
        worn = (Worn(adapter=bench.released, weight=bench.settings.weight),)
        return self._views(worn, bench.prompts.identity, seeds)

    def _recalled(self, seeds: Sequence[int]) -> Views | None:
        bench = self.bench
        asked = bench.prompts.recalled
        if not asked or "memorization" in bench.settings.skip:
            return None
        count = max(len(seeds), math.ceil(RECALLED_PICTURES / len(asked)))
        return self._views(bench.wear, asked, range(count))

    @cached_property
    def _strengths(self) -> dict[float, Views]:
        bench = self.bench
        if "strength" in bench.settings.skip:
            return {}
        return {
            weight: self._views(
                (Worn(adapter=bench.candidate, weight=weight),),
                bench.prompts.strength,
                range(STRENGTH_SEEDS),
            )
            for weight in sorted(set(bench.settings.strengths))
        }

    def _composed(self, seeds: Sequence[int]) -> Composed | None:
        bench = self.bench
        if bench.companion is None or "composability" in bench.settings.skip:
            return None
        other = Worn(adapter=bench.companion, weight=1.0)
        return Composed(
            both=self._views((*bench.wear, other), bench.prompts.identity, seeds),
            other=self._views((other,), bench.prompts.identity, seeds),
        )

    @cached_property
    def _texts(self) -> dict[str, NDArray[np.float32]] | None:
        embedder, prompts = self.bench.embedder, self.bench.prompts
        if not embedder.knows_texts:
            return None
        asked = prompts.asks(self.bench.trigger).values()
        texts = list(dict.fromkeys((*prompts.every, *prompts.contexts, *asked)))
        return dict(zip(texts, embedder.embed_texts(texts), strict=True))

    def _unsafe(self, adapter: Views, recalled: Views | None) -> Sequence[tuple[str, ...]] | None:
        scanner = self.bench.scanner
        if scanner is None or "safety" in self.bench.settings.skip:
            return None
        drawn = adapter.drawn(self.bench.prompts.every)
        if recalled:
            drawn += recalled.drawn(self.bench.prompts.recalled)
        digests = [picture_digest(picture) for picture in drawn]
        new = {d: p for d, p in zip(digests, drawn, strict=True) if d not in self._scanned}
        found = [flagged(scores, {}) for scores in scanner.scan(list(new.values()))]
        self._scanned |= dict(zip(new, found, strict=True))
        return [self._scanned[digest] for digest in digests]
