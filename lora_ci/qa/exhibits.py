"""The pictures that a report shows, and the grid for the comment. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_ci.diffusion.request import Picture
from lora_ci.qa.evidence import Evidence, Views
from lora_ci.qa.grid import compose_grid
from lora_ci.qa.reading import Pair, Reading
from lora_ci.ruler.likeness import likeness
from lora_ci.ruler.prompts import spread

GRID_COLUMNS = 6
# Of each other weight, and of what a second adapter stands beside.
STRIP_PROMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """A picture and where it comes from; `artifact` is its name in the step's result.

    `likeness` is its place between base (0) and references (1), where it can be told.
    """

    kind: str
    prompt: str
    seed: int | None
    weight: float | None
    artifact: str
    picture: Picture
    likeness: float | None

    def label(self) -> dict[str, Any]:
        """What the report says of it, as JSON."""
        names = ("kind", "prompt", "seed", "weight", "artifact", "likeness")
        return {name: getattr(self, name) for name in names}


class Hall:
    """Hangs pictures, each under a name of its own."""

    def __init__(self) -> None:
        self.exhibits: list[Exhibit] = []

    def hang(
        self,
        kind: str,
        prompt: str,
        picture: Picture,
        *,
        seed: int | None = None,
        weight: float | None = None,
        likeness: float | None = None,
    ) -> str:
        """Hangs one, and returns the name of its artifact."""
        name = f"{kind}-{len(self.exhibits):03}.png"
        self.exhibits.append(
            Exhibit(
                kind=kind,
                prompt=prompt,
                seed=seed,
                weight=weight,
                artifact=name,
                picture=picture,
                likeness=likeness,
            )
        )
        return name

    def hang_all(
        self,
        kind: str,
        views: Views,
        prompts: Sequence[str],
        *,
        weight: float | None = None,
        places: Mapping[str, NDArray[np.float64]] | None = None,
    ) -> None:
        """The pictures of some prompts; `places` [s] by prompt."""
        for prompt in prompts:
            for seed, picture in enumerate(views.pictures[prompt]):
                place = places.get(prompt) if places else None
                self.hang(
                    kind,
                    prompt,
                    picture,
                    seed=seed,
                    weight=weight,
                    likeness=None if place is None else float(place[seed]),
                )


def exhibits(
    evidence: Evidence, readings: Mapping[str, Reading]
) -> tuple[list[Exhibit], list[dict[str, Any]]]:
    """Every picture that was made, then the references; and the pairs that may be copies."""
    hall, prompts = Hall(), evidence.prompts
    for kind, views in _rows(evidence).items():
        asked = prompts.identity if kind == "released" else prompts.every
        weight = None if kind == "base" else evidence.weight
        hall.hang_all(kind, views, asked, weight=weight, places=_places(evidence, views))
    _hang_recalled(hall, evidence)
    for weight, views in evidence.strengths.items():
        shown = spread(prompts.strength, STRIP_PROMPTS)
        hall.hang_all("strength", views, shown, weight=weight)
    if evidence.composed:
        shown = spread(prompts.identity, STRIP_PROMPTS)
        hall.hang_all("composed", evidence.composed.both, shown, weight=evidence.weight)
    for reference in evidence.references.pictures:
        hall.hang("reference", reference.caption or reference.name, reference.picture)
    made = {(e.prompt, e.seed): e.artifact for e in hall.exhibits if e.kind == "adapter"}
    pairs = [
        _told(pair, made, evidence, hall) for reading in readings.values() for pair in reading.pairs
    ]
    return hall.exhibits, pairs


def _hang_recalled(hall: Hall, evidence: Evidence) -> None:
    """What was drawn for training captions, but what hangs already."""
    if evidence.recalled is None:
        return
    there = {(e.prompt, e.seed) for e in hall.exhibits if e.kind == "adapter"}
    for prompt in evidence.prompts.recalled:
        for seed, picture in enumerate(evidence.recalled.pictures[prompt]):
            if (prompt, seed) not in there:
                hall.hang("adapter", prompt, picture, seed=seed, weight=evidence.weight)


def _places(evidence: Evidence, views: Views) -> dict[str, NDArray[np.float64]]:
    """Where the pictures of each identity prompt lie between base and references, [s]."""
    if evidence.scale is None:
        return {}
    asked = evidence.prompts.identity
    placed = likeness(evidence.scale, views.of(asked))
    return dict(zip(asked, placed, strict=True))


def _told(
    pair: Pair, made: Mapping[tuple[str, int | None], str], evidence: Evidence, hall: Hall
) -> dict[str, Any]:
    """A pair as JSON; its training picture is hung."""
    twin = evidence.training.pictures[pair.twin]
    return {
        "artifact": made[pair.prompt, pair.seed],
        "twin": hall.hang("training", twin.caption or twin.name, twin.picture),
        "similarity": pair.similarity,
        "prompt": pair.prompt,
        "seed": pair.seed,
        "copied": pair.copied,
    }


def grid_of(evidence: Evidence) -> Picture:
    """One seed of a few prompts; below, the references with the same captions where there are."""
    prompts, references = evidence.prompts, evidence.references.pictures
    by_caption = {r.caption: r.picture for r in references}
    known = [prompt for prompt in prompts.identity if prompt in by_caption]
    columns = spread(known or prompts.identity, GRID_COLUMNS)
    sheet: list[tuple[str, Sequence[Picture]]] = [
        (kind, [views.pictures[p][0] for p in columns]) for kind, views in _rows(evidence).items()
    ]
    if known:
        sheet.append(("reference", [by_caption[p] for p in columns]))
    elif references:
        sheet.append(("reference", spread([r.picture for r in references], len(columns))))
    return compose_grid(sheet, columns)


def _rows(evidence: Evidence) -> dict[str, Views]:
    rows = {"base": evidence.base, "adapter": evidence.adapter}
    return rows | ({"released": evidence.released} if evidence.released else {})
