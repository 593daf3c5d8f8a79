"""The door of the room: runs the `qa` step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from lora_ci.core.artifact import Artifact
from lora_ci.core.digest import sha256_file, sha256_json
from lora_ci.core.errors import InputError
from lora_ci.core.finding import Severity
from lora_ci.core.settings import LoraType, QaSettings
from lora_ci.core.step import Outcome, StepContext, StepResult, StepSpec
from lora_ci.core.versions import RULER_VERSION
from lora_ci.diffusion.easel import Easel
from lora_ci.diffusion.load import BaseModel, load_base
from lora_ci.diffusion.precision import best_device, dtype_name
from lora_ci.diffusion.request import Picture
from lora_ci.qa.contract import TEST_WITH, check_contract
from lora_ci.qa.diffusion_studio import DiffusionStudio
from lora_ci.qa.exhibits import Exhibit, exhibits, grid_of
from lora_ci.qa.held_out import about_seen
from lora_ci.qa.sitting import Bench, sit
from lora_ci.qa.telling import details_of, metrics_of
from lora_ci.ruler.album import Album, png_bytes, template_of
from lora_ci.ruler.opening import step_embedder
from lora_ci.ruler.prompts import make_prompts
from lora_ci.ruler.readings import Readings
from lora_ci.ruler.references import Reference, read_references
from lora_ci.ruler.safety import open_scanner

MEDIA_TYPE = "image/png"
# The inputs that are adapters, in the order in which their faults are told.
ADAPTERS = ("adapter", "released", "companion")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The step's parameters."""

    settings: QaSettings
    trigger: str
    type: LoraType
    released_version: str | None = None


def run(spec: StepSpec, context: StepContext) -> StepResult:
    """Judges the adapter: contract first, then pictures, more of them until the verdict is sure."""
    task = msgspec.convert(spec.params, Task)
    device = best_device()
    paths = {
        name: adapter_file(context.input_path(name), name)
        for name in ADAPTERS
        if name in spec.inputs and TEST_WITH.get(name) not in task.settings.skip
    }
    base = load_base(
        context.input_path("base_model"),
        dtype_name(task.settings.precision, device),
        content_id=spec.inputs["base_model"].content_id,
        device=device,
    )
    readings = Readings(context.cache)
    told = check_contract(paths, base, task.trigger, readings)
    findings = tuple(finding for some in told.values() for finding in some)
    unfit = {n for n, some in told.items() if any(f.severity is Severity.ERROR for f in some)}
    if unfit:
        # That another one does not fit says nothing of the judged one.
        outcome = Outcome.FAILED if "adapter" in unfit else Outcome.INCONCLUSIVE
        return StepResult(outcome=outcome, findings=findings)
    digests = {name: sha256_file(path) for name, path in paths.items()}
    bench = make_bench(spec, context, task, digests, base)
    studio = DiffusionStudio(
        easel=Easel(model=base),
        album=make_album(context, bench, base),
        readings=readings,
        adapters={digests[name]: path for name, path in paths.items()},
        trigger=task.trigger,
        stop=context.stop_requested,
    )
    sitting = sit(bench, studio)
    shown, pairs = exhibits(sitting.evidence, sitting.readings)
    return StepResult(
        outcome=sitting.verdict.outcome,
        metrics=metrics_of(sitting.verdict),
        artifacts=keep(shown, grid_of(sitting.evidence), context),
        findings=(
            *findings,
            *sitting.verdict.findings,
            *about_seen(sitting.evidence.seen, len(bench.references)),
            *studio.album.findings,
            *studio.easel.memory.findings(),
        ),
        details=details_of(sitting)
        | {
            "pictures": [exhibit.label() for exhibit in shown],
            "pairs": pairs,
            "sampler": sampler_of(studio.album, base),
            "embedder": task.settings.embedder,
            "embedder_license": bench.embedder.license,
            "error": task.settings.error,
            "drawn": {"kept": studio.album.kept, "made": studio.album.made},
            "ruler": ruler_id(spec, bench, base),
        },
    )


def adapter_file(path: Path, name: str) -> Path:
    """The file of an adapter: one from a commit lies alone in a folder. Raises InputError."""
    if not path.is_dir():
        return path
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    if len(files) != 1:
        message = f"the {name} adapter is a folder of {len(files)} files; expected one file"
        raise InputError(message, hint="next: name the file itself in `qa.compose_with`")
    return files[0]


def make_bench(
    spec: StepSpec, context: StepContext, task: Task, digests: dict[str, str], base: BaseModel
) -> Bench:
    """What is judged, and with what."""
    settings = task.settings
    side = settings.resolution or base.resolution

    def pictures(name: str) -> list[Reference]:
        return read_references(context.input_path(name), side) if name in spec.inputs else []

    references, training = pictures("references"), pictures("dataset")
    return Bench(
        settings=settings,
        trigger=task.trigger,
        prompts=make_prompts(
            task.type,
            task.trigger,
            settings,
            [r.caption for r in references],
            [r.caption for r in training],
        ),
        embedder=step_embedder(settings, spec, context),
        references=references,
        training=training,
        candidate=digests["adapter"],
        released=digests.get("released"),
        released_version=task.released_version,
        companion=digests.get("companion"),
        scanner=open_scanner(settings.safety) if settings.safety else None,
    )


def make_album(context: StepContext, bench: Bench, base: BaseModel) -> Album:
    """The album of pictures, which tells how many there are of those it may come to."""
    settings, count, total = bench.settings, 0, bench.most_pictures

    def told(more: int) -> None:
        nonlocal count
        count += more
        context.progress(min(count, total), total, "pictures")

    return Album(
        template=template_of(settings, side=base.resolution, guidance=base.family.guidance),
        cache=context.cache,
        told=told,
        stop=context.stop_requested,
    )


def sampler_of(album: Album, base: BaseModel) -> dict[str, object]:
    """How pictures are made, as JSON."""
    made = album.template
    return {
        "steps": made.steps,
        "guidance": made.guidance,
        "rescale": made.guidance_rescale,
        "resolution": made.width,
        "precision": str(base.dtype).removeprefix("torch."),
        "negative_prompt": made.negative_prompt,
    }


def ruler_id(spec: StepSpec, bench: Bench, base: BaseModel) -> str:
    """The id of all that measures: results of different rulers are never compared."""
    names = ("base_model", "references", "companion")
    ids = {name: spec.inputs[name].content_id for name in names if name in spec.inputs}
    where = [base.device.type, str(base.dtype)]
    embedder = bench.embedder.identity
    # What an adapter was trained on is its own: it is held against that, whatever it is.
    prompts = replace(bench.prompts, recalled=())
    # Where things lie and what they may be used for measures nothing; the ids hold their content.
    measuring = replace(
        bench.settings,
        references=None,
        compose_with=None,
        embedder="",
        embedder_license=None,
        license_policy="any",
    )
    return sha256_json([RULER_VERSION, ids, embedder, where, prompts, measuring])


def keep(shown: Sequence[Exhibit], grid: Picture, context: StepContext) -> tuple[Artifact, ...]:
    """Puts every picture and the grid into the store."""
    artifacts = []
    for name, picture in (("grid.png", grid), *((e.artifact, e.picture) for e in shown)):
        path = context.workdir / name
        path.write_bytes(png_bytes(picture))
        artifacts.append(context.keep(name, path, MEDIA_TYPE))
        path.unlink()
    return tuple(artifacts)
