"""Generated pictures beside the training pictures that they are most like."""

from __future__ import annotations

from collections.abc import Mapping

from lora_ci.core.step import StepResult
from lora_ci.report.details import Details, Pair
from lora_ci.report.figures import counted, number, shorten
from lora_ci.report.markup import folded, text
from lora_ci.report.picture import Preview, picture

SHOWN_PAIRS = 4
MOST_PAIRS = 40
MOST_WORDS = 300


def twins(qa: Details, result: StepResult | None, pictures: Mapping[str, Preview]) -> str:
    """The pairs, copies and the most alike first; `pictures` gives previews by sha256."""
    if not qa.pairs or result is None:
        return ""
    digests = {artifact.name: artifact.sha256 for artifact in result.artifacts}
    ordered = sorted(qa.pairs, key=lambda pair: (not pair.copied, -pair.similarity))[:MOST_PAIRS]
    cards = [_card(pair, digests, pictures) for pair in ordered]
    rest = cards[SHOWN_PAIRS:]
    copied = sum(pair.copied for pair in qa.pairs)
    told = f"{copied} of {counted(len(qa.pairs), 'pair')} called a copy"
    return (
        f"<h3>Nearest training pictures</h3>"
        f'<p>{told}. <span class="dim">Left generated, right what was trained on.</span></p>'
        f"{_grid(cards[:SHOWN_PAIRS])}{folded(counted(len(rest), 'more pair'), _grid(rest))}"
    )


def _grid(cards: list[str]) -> str:
    return f'<div class="twins">{"".join(cards)}</div>' if cards else ""


def _card(pair: Pair, digests: Mapping[str, str], pictures: Mapping[str, Preview]) -> str:
    prompt = shorten(pair.prompt, MOST_WORDS)
    seed = "" if pair.seed is None else f", seed {pair.seed}"
    made = picture(pictures.get(digests.get(pair.artifact, "")), f"generated: {prompt}{seed}")
    twin = picture(pictures.get(digests.get(pair.twin, "")), f"training picture like: {prompt}")
    word = '<span class="chip failed">copied</span> ' if pair.copied else ""
    return (
        f'<figure class="pair"><div class="set">{made}{twin}</div>'
        f"<figcaption>{word}similarity {number(pair.similarity)}<br>{text(prompt)}{text(seed)}"
        "</figcaption></figure>"
    )
