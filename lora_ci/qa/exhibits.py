"""The pictures that a report shows, and the grid for the comment. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lora_ci.diffusion.generate import Picture
from lora_ci.qa.grid import compose_grid
from lora_ci.ruler.prompts import Prompts, spread
from lora_ci.ruler.references import Reference

if TYPE_CHECKING:
    from lora_ci.qa.measure import Round

GRID_COLUMNS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """A picture and where it comes from; `artifact` is its name in the step's result."""

    kind: str
    prompt: str
    seed: int | None
    weight: float | None
    artifact: str
    picture: Picture

    def label(self) -> dict[str, Any]:
        """What the report says of it, as JSON."""
        names = ("kind", "prompt", "seed", "weight", "artifact")
        return {name: getattr(self, name) for name in names}


def exhibits(
    prompts: Prompts, references: Sequence[Reference], made: Round, weight: float
) -> list[Exhibit]:
    """Every generated picture, then the references."""
    asked = (*prompts.identity, *prompts.flexibility, *prompts.bare)
    shown: list[Exhibit] = []

    def show(kind: str, prompt: str, seed: int | None, picture: Picture) -> None:
        shown.append(
            Exhibit(
                kind=kind,
                prompt=prompt,
                seed=seed,
                weight=weight if kind in ("adapter", "released") else None,
                artifact=f"{kind}-{len(shown):03}.png",
                picture=picture,
            )
        )

    for kind, pictures in _rows(made).items():
        for prompt in dict.fromkeys(asked):
            for seed, picture in enumerate(pictures.get(prompt, ())):
                show(kind, prompt, seed, picture)
    for reference in references:
        show("reference", reference.caption or reference.name, None, reference.picture)
    return shown


def grid_of(prompts: Prompts, references: Sequence[Reference], made: Round) -> Picture:
    """One seed of a few prompts; below, the references with the same captions where there are."""
    by_caption = {r.caption: r.picture for r in references}
    known = [prompt for prompt in prompts.identity if prompt in by_caption]
    columns = spread(known or prompts.identity, GRID_COLUMNS)
    sheet: list[tuple[str, Sequence[Picture]]] = [
        (kind, [made_of[p][0] for p in columns]) for kind, made_of in _rows(made).items()
    ]
    if known:
        sheet.append(("reference", [by_caption[p] for p in columns]))
    elif references:
        sheet.append(("reference", spread([r.picture for r in references], len(columns))))
    return compose_grid(sheet, columns)


def _rows(made: Round) -> dict[str, Mapping[str, list[Picture]]]:
    rows = {"base": made.base, "adapter": made.adapter}
    return rows | ({"released": made.released} if made.released else {})
