"""The pictures that QA looked at: the same prompt and seed side by side, then the references."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from lora_ci.core.step import StepResult
from lora_ci.report.details import Exhibit
from lora_ci.report.figures import counted, plain, shorten
from lora_ci.report.markup import folded, text
from lora_ci.report.picture import Preview, picture

# What is seen without a click.
SHOWN_PROMPTS = 8
SHOWN_IN_A_ROW = 6
MOST_PICTURES = 2_000
MOST_WORDS = 300
KINDS = ("base", "adapter", "released")
NAMES = {
    "base": "base",
    "adapter": "new",
    "released": "released",
    "reference": "reference",
    "composed": "with the second adapter",
}
SLIDER = (
    '<div class="slider" hidden><div class="picks"><label>prompt <select></select></label>'
    "<label>seed <select></select></label><label>left <select></select></label></div>"
    '<div class="pane"></div><label class="slide">'
    '<span class="dim">left: base or released · right: new</span>'
    '<input type="range" min="0" max="100" value="50" aria-label="where the new picture begins">'
    "</label></div>"
)

Show = Callable[[Exhibit], str]


def gallery(
    exhibits: tuple[Exhibit, ...], result: StepResult, pictures: Mapping[str, Preview]
) -> str:
    """The pictures of one LoRA; `pictures` gives previews by sha256."""
    digests = {artifact.name: artifact.sha256 for artifact in result.artifacts}

    def show(exhibit: Exhibit) -> str:
        return _figure(exhibit, pictures.get(digests.get(exhibit.artifact, "")))

    shown = exhibits[:MOST_PICTURES]
    prompts: dict[str, dict[int | None, dict[str, Exhibit]]] = {}
    for exhibit in shown:
        if exhibit.kind in KINDS:
            seeds = prompts.setdefault(exhibit.prompt, {})
            seeds.setdefault(exhibit.seed, {})[exhibit.kind] = exhibit
    cards = [_prompt(prompt, seeds, show) for prompt, seeds in prompts.items()]
    rest = cards[SHOWN_PROMPTS:]
    parts = [
        SLIDER if cards else "",
        *cards[:SHOWN_PROMPTS],
        folded(counted(len(rest), "more prompt"), "".join(rest)),
        _row("beside a second adapter", [show(e) for e in shown if e.kind == "composed"]),
        _row("held-out references", [show(e) for e in shown if e.kind == "reference"]),
    ]
    if len(exhibits) > len(shown):
        parts.append(f'<p class="dim">… and {len(exhibits) - len(shown):,} more pictures</p>')
    return "".join(parts)


def _row(name: str, figures: list[str]) -> str:
    if not figures:
        return ""
    row = f'<div class="strip">{"".join(figures)}</div>'
    return f'<div class="prompt"><p class="said">{name}</p>{row}</div>'


def _prompt(prompt: str, seeds: Mapping[int | None, Mapping[str, Exhibit]], show: Show) -> str:
    """One prompt: a group a seed, the first seeds without a click."""
    groups = []
    for seed, kinds in seeds.items():
        figures = "".join(show(kinds[kind]) for kind in KINDS if kind in kinds)
        name = f'<span class="seed">seed {seed}</span>' if seed is not None else ""
        groups.append(f'<div class="group">{name}<div class="set">{figures}</div></div>')
    said = f'<p class="said">{text(shorten(prompt, MOST_WORDS))}</p>'
    together = max(len(kinds) for kinds in seeds.values())
    shown = SHOWN_IN_A_ROW // together
    rest = groups[shown:]
    more = folded(counted(len(rest), "more seed"), _grouped(rest, together)) if rest else ""
    return f'<div class="prompt">{said}{_grouped(groups[:shown], together)}{more}</div>'


def _grouped(groups: list[str], together: int) -> str:
    return f'<div class="groups of{together}">{"".join(groups)}</div>'


def _figure(exhibit: Exhibit, preview: Preview | None) -> str:
    name = NAMES[exhibit.kind]
    if exhibit.weight is not None:
        name += f", weight {plain(exhibit.weight)}"
    if exhibit.kind in ("reference", "composed"):
        name = text(shorten(exhibit.prompt, 60))
    seed = "" if exhibit.seed is None else f", seed {exhibit.seed}"
    shown = picture(preview, f"{NAMES[exhibit.kind]}: {shorten(exhibit.prompt, MOST_WORDS)}{seed}")
    return f'<figure class="{exhibit.kind}">{shown}<figcaption>{name}</figcaption></figure>'
