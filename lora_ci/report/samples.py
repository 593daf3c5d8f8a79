"""Pictures made while training: a row a prompt, a column a step."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lora_ci.core.step import StepResult
from lora_ci.report.figures import shorten
from lora_ci.report.markup import text
from lora_ci.report.picture import Preview, picture

NAME = re.compile(r"sample-(\d{1,12})-(\d{1,6})\.png", re.ASCII)
MOST_COLUMNS = 8
MOST_ROWS = 12
MOST_WORDS = 300


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture in the store, made at `step` for the prompt of that `number`."""

    step: int
    number: int
    sha256: str


def shown_samples(result: StepResult) -> tuple[Sample, ...]:
    """What a report shows of a training's pictures: few steps, the first and the last among them.

    In the order of prompts, then of steps.
    """
    made = {}
    for artifact in result.artifacts:
        if match := NAME.fullmatch(artifact.name):
            sample = Sample(int(match[1]), int(match[2]), artifact.sha256)
            made[sample.number, sample.step] = sample
    steps = frozenset(evenly(sorted({step for _, step in made}), MOST_COLUMNS))
    numbers = sorted({number for number, _ in made})[:MOST_ROWS]
    return tuple(made[at] for at in sorted(made) if at[0] in numbers and at[1] in steps)


def evenly(values: Sequence[int], most: int) -> list[int]:
    """At most `most` of them, evenly chosen, with the first and the last."""
    if len(values) <= most:
        return list(values)
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


def sample_strip(
    result: StepResult, prompts: Sequence[str], pictures: Mapping[str, Preview]
) -> str:
    """The pictures of a training; nothing where none were made."""
    samples = shown_samples(result)
    rows: dict[int, list[Sample]] = {}
    for sample in samples:
        rows.setdefault(sample.number, []).append(sample)
    drawn = []
    for number, row in rows.items():
        told = prompts[number] if number < len(prompts) else f"prompt {number + 1}"
        prompt = shorten(told, MOST_WORDS)
        figures = "".join(_figure(sample, prompt, pictures) for sample in row)
        drawn.append(f'<p class="said">{text(prompt)}</p><div class="steps">{figures}</div>')
    return f'<div class="prompt samples">{"".join(drawn)}</div>' if drawn else ""


def _figure(sample: Sample, prompt: str, pictures: Mapping[str, Preview]) -> str:
    step = f"step {sample.step:,}" if sample.step else "before"
    shown = picture(pictures.get(sample.sha256), f"{step}: {prompt}")
    return f"<figure>{shown}<figcaption>{step}</figcaption></figure>"
