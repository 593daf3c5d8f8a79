"""The door of the room: runs the `optimize` step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import msgspec
import numpy as np

from lora_ci.core.digest import sha256_file
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.settings import LoraType, OptimizeSettings, QaSettings
from lora_ci.core.step import Outcome, StepContext, StepResult, StepSpec
from lora_ci.diffusion.easel import Easel
from lora_ci.diffusion.load import load_base
from lora_ci.diffusion.precision import best_device, dtype_name
from lora_ci.diffusion.request import Picture
from lora_ci.formats.read import read_adapter
from lora_ci.optimize.strength import Strength, recommend
from lora_ci.ruler.album import Album, Maker, template_of
from lora_ci.ruler.defects import defects, sound_range
from lora_ci.ruler.embedder import Features
from lora_ci.ruler.likeness import find_scale, identity_by_prompt
from lora_ci.ruler.opening import step_embedder
from lora_ci.ruler.prompts import make_prompts
from lora_ci.ruler.references import read_references

# Weights are compared on the same pictures, so few of them do.
SEEDS = range(1)


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
    weights = sorted(set(task.settings.weights))
    total, done = (len(weights) + 1) * len(prompts.identity) * len(SEEDS), 0

    def told(more: int) -> None:
        nonlocal done
        done += more
        context.progress(done, total, "pictures")

    embedder = step_embedder(task.qa, spec, context)

    def features(made: Mapping[str, Sequence[Picture]]) -> Features:
        flat = embedder.embed_pictures([picture for row in made.values() for picture in row])
        return flat.reshape(len(made), -1, flat.shape[-1])

    album = Album(
        template=template,
        cache=context.cache,
        told=told,
        stop=context.stop_requested,
    )
    maker = Maker(base=easel.identity, open=easel.generator)
    made = album.pictures(maker, prompts.identity, SEEDS)
    base = features(made)
    sound = sound_range([p for row in made.values() for p in row] + [r.picture for r in references])
    scale, problem = find_scale(embedder.embed_pictures([r.picture for r in references]), base)
    curve = []
    for weight in weights:
        maker = Maker(
            base=easel.identity,
            adapters=((sha256, weight),),
            open=partial(easel.generator, adapter, weight),
        )
        made = album.pictures(maker, prompts.identity, SEEDS)
        pictures = [p for row in made.values() for p in row]
        clean = float(np.mean([not defects(p, sound) for p in pictures]))
        identity = None
        if scale:
            identity = float(identity_by_prompt(scale, features(made), base).mean())
        curve.append(Strength(weight=weight, identity=identity, clean=clean))
    recommended = recommend(curve)
    return StepResult(
        outcome=Outcome.PASSED,
        metrics={} if recommended is None else {"recommended_weight": recommended},
        findings=(
            *album.findings,
            *easel.memory.findings(),
            *(() if recommended is not None else (_unknown(problem),)),
        ),
        details={
            "curve": [{**msgspec.to_builtins(point), "score": point.score} for point in curve]
        },
    )


def _unknown(problem: str) -> Finding:
    return Finding(
        rule="optimize.no-weight",
        severity=Severity.WARNING,
        message=f"no weight can be recommended: {problem}",
        hint="give `qa.references` and an embedder that sees the concept (`qa.embedder`)",
    )
