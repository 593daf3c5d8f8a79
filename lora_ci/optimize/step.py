"""The door of the room: runs the `optimize` step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec

from lora_ci.core.digest import sha256_file
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.settings import LoraType, OptimizeSettings, QaSettings
from lora_ci.core.step import Outcome, StepContext, StepResult, StepSpec
from lora_ci.diffusion.easel import Easel
from lora_ci.diffusion.load import load_base
from lora_ci.diffusion.precision import best_device, dtype_name
from lora_ci.diffusion.request import Picture
from lora_ci.formats.read import read_adapter
from lora_ci.ruler.album import Album, Maker, template_of
from lora_ci.ruler.defects import sound_range
from lora_ci.ruler.embedder import Features
from lora_ci.ruler.likeness import find_scale
from lora_ci.ruler.opening import step_embedder
from lora_ci.ruler.prompts import FIRST_SEEDS, STRENGTH_SEEDS, make_prompts
from lora_ci.ruler.references import read_references
from lora_ci.ruler.strength import NO_BETTER, Tried, find_window, try_weights

# QA has made most of these pictures.
BASE_SEEDS, SEEDS = range(FIRST_SEEDS), range(STRENGTH_SEEDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The step's parameters."""

    settings: OptimizeSettings
    qa: QaSettings
    trigger: str
    type: LoraType


def run(spec: StepSpec, context: StepContext) -> StepResult:
    """Tries the weights on the identity prompts and recommends one."""
    task = msgspec.convert(spec.params, Task)
    device = best_device()
    model = load_base(
        context.input_path("base_model"),
        dtype_name(task.qa.precision, device),
        content_id=spec.inputs["base_model"].content_id,
        device=device,
    )
    easel, path = Easel(model=model), context.input_path("adapter")
    adapter, sha256 = read_adapter(path), sha256_file(path)
    template = template_of(task.qa, side=model.resolution, guidance=model.family.guidance)
    references = (
        read_references(context.input_path("references"), template.width)
        if "references" in spec.inputs
        else []
    )
    prompts = make_prompts(task.type, task.trigger, task.qa, [r.caption for r in references])
    weights, asked = sorted(set(task.settings.weights)), prompts.strength
    total = len(prompts.identity) * len(BASE_SEEDS) + len(weights) * len(asked) * len(SEEDS)
    done = 0

    def told(more: int) -> None:
        nonlocal done
        done += more
        context.progress(done, total, "pictures")

    embedder = step_embedder(task.qa, spec, context)
    album = Album(template=template, cache=context.cache, told=told, stop=context.stop_requested)

    def features(made: Mapping[str, Sequence[Picture]]) -> Features:
        flat = embedder.embed_pictures([picture for row in made.values() for picture in row])
        return flat.reshape(len(made), -1, flat.shape[-1])

    maker = Maker(base=easel.identity, open=easel.generator)
    made = album.pictures(maker, prompts.identity, BASE_SEEDS)
    base = features(made)
    sound = sound_range([p for row in made.values() for p in row] + [r.picture for r in references])
    scale, problem = find_scale(embedder.embed_pictures([r.picture for r in references]), base)
    tried = {}
    for weight in weights:
        maker = Maker(
            base=easel.identity,
            adapters=((sha256, weight),),
            open=partial(easel.generator, adapter, weight),
        )
        made = album.pictures(maker, asked, SEEDS)
        tried[weight] = Tried(
            pictures=[p for row in made.values() for p in row], features=features(made)
        )
    index = [prompts.identity.index(prompt) for prompt in asked]
    of_these = scale.of_prompts(index) if scale else None
    trial = try_weights(tried, base[index][:, : len(SEEDS)], of_these, sound)
    window = find_window(trial.curve)
    return StepResult(
        outcome=Outcome.PASSED,
        metrics={"recommended_weight": window.recommended} if window else {},
        findings=(
            *album.findings,
            *easel.memory.findings(),
            *(() if window else (_unknown(problem or NO_BETTER),)),
        ),
        details={"curve": [point.told() for point in trial.curve]},
    )


def _unknown(problem: str) -> Finding:
    return Finding(
        rule="optimize.no-weight",
        severity=Severity.WARNING,
        message=f"no weight can be recommended: {problem}",
        hint="give `qa.references` and an embedder that sees the concept (`qa.embedder`)",
    )
