"""The door of the room: runs the `qa` step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from lora_ci.core.artifact import Artifact
from lora_ci.core.digest import sha256_file, sha256_json
from lora_ci.core.finding import Severity
from lora_ci.core.settings import LoraType, QaSettings
from lora_ci.core.step import Outcome, StepContext, StepResult, StepSpec
from lora_ci.core.versions import RULER_VERSION
from lora_ci.diffusion.generate import Picture
from lora_ci.diffusion.load import load_base
from lora_ci.formats.contract import check_adapter
from lora_ci.formats.read import read_adapter
from lora_ci.qa.exhibits import Exhibit, exhibits, grid_of
from lora_ci.qa.measure import (
    Bench,
    Subject,
    make_round,
    measure,
    measure_cost,
    measure_losses,
)
from lora_ci.qa.scores import PASS_MARK
from lora_ci.qa.verdict import Measured, Verdict, judge
from lora_ci.ruler.album import Album, png_bytes
from lora_ci.ruler.embedder import open_embedder
from lora_ci.ruler.prompts import Prompts, make_prompts
from lora_ci.ruler.references import Reference, read_references
from lora_ci.ruler.statistics import Interval

FIRST_SEEDS = 2
MEDIA_TYPE = "image/png"


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
    base = load_base(
        context.input_path("base_model"), content_id=spec.inputs["base_model"].content_id
    )
    candidate = _subject(context, "adapter")
    findings = check_adapter(candidate.adapter, base.shapes(), base.family.name)
    if any(f.severity is Severity.ERROR for f in findings):
        return StepResult(outcome=Outcome.FAILED, findings=findings)
    side = task.settings.resolution or base.resolution
    references = _pictures(spec, context, "references", side)
    bench = Bench(
        model=base,
        album=_album(spec, context, task, side),
        prompts=make_prompts(
            task.type, task.trigger, task.settings, [r.caption for r in references]
        ),
        references=references,
        training=_pictures(spec, context, "dataset", side),
        candidate=candidate,
        released=_subject(context, "released", task.released_version)
        if "released" in spec.inputs
        else None,
        weight=task.settings.weight,
        trigger=task.trigger,
    )
    cost, held_out = measure_cost(bench), measure_losses(bench)
    rounds = seed_rounds(task.settings.seeds)
    while True:
        seeds = range(next(rounds))
        made = make_round(bench, seeds)
        measured = measure(bench, made, cost, held_out)
        verdict = judge(measured, task.settings.gates)
        if len(seeds) >= task.settings.seeds or not _more_would_tell(verdict):
            break
    shown = exhibits(bench.prompts, bench.references, made, task.settings.weight)
    return StepResult(
        outcome=verdict.outcome,
        metrics=_flat(measured, verdict),
        artifacts=_keep(shown, grid_of(bench.prompts, bench.references, made), context),
        findings=(*findings, *verdict.findings),
        details=_details(task, measured, verdict)
        | {
            "pictures": [exhibit.label() for exhibit in shown],
            "seeds": len(seeds),
            "ruler": ruler_id(spec, task, bench.prompts),
        },
    )


def seed_rounds(most: int) -> Iterator[int]:
    """Numbers of seeds to try: 2, 4, 8, … up to `most`, which is always the last."""
    count = min(FIRST_SEEDS, most)
    while count < most:
        yield count
        count *= 2
    yield most


def _more_would_tell(verdict: Verdict) -> bool:
    """True if only sureness is lacking: everything was measured, and nothing failed."""
    unsure = [g for g in verdict.gates if g.outcome is Outcome.INCONCLUSIVE]
    return verdict.outcome is Outcome.INCONCLUSIVE and all(g.value is not None for g in unsure)


def _subject(context: StepContext, name: str, version: str | None = None) -> Subject:
    path = context.input_path(name)
    return Subject(
        adapter=read_adapter(path),
        sha256=sha256_file(path),
        size_bytes=path.stat().st_size,
        version=version,
    )


def _pictures(spec: StepSpec, context: StepContext, name: str, side: int) -> list[Reference]:
    return read_references(context.input_path(name), side) if name in spec.inputs else []


def _album(spec: StepSpec, context: StepContext, task: Task, side: int) -> Album:
    folder: Path | None = context.input_path("embedder") if "embedder" in spec.inputs else None
    count = 0

    def told(more: int) -> None:
        nonlocal count
        count += more
        context.progress(count, 0, "pictures")

    return Album(
        settings=task.settings,
        side=side,
        embedder=open_embedder(task.settings.embedder, folder),
        cache=context.cache,
        told=told,
        stop=context.stop_requested,
    )


def ruler_id(spec: StepSpec, task: Task, prompts: Prompts) -> str:
    """The id of all that measures: results of different rulers are never compared."""
    names = ("base_model", "references", "embedder")
    ids = {name: spec.inputs[name].content_id for name in names if name in spec.inputs}
    return sha256_json([RULER_VERSION, ids, prompts, task.settings])


def _flat(measured: Measured, verdict: Verdict) -> dict[str, float]:
    """The metrics as plain numbers; what was not measured is absent."""
    values = {
        name: value.mean if isinstance(value, Interval) else value
        for name, value in measured.metrics.items()
    }
    if verdict.overall:
        values["overall"] = verdict.overall.mean
    return values


def _details(task: Task, measured: Measured, verdict: Verdict) -> dict[str, Any]:
    """What the report renders."""
    total = verdict.overall
    details: dict[str, Any] = msgspec.to_builtins(
        {
            "overall": {
                "score": total.mean if total else None,
                "low": total.low if total else None,
                "high": total.high if total else None,
                "pass_mark": PASS_MARK,
            },
            "tests": measured.tests,
            "gates": verdict.gates,
            "similarity": measured.similarity,
            "comparison": measured.comparison,
            "embedder": task.settings.embedder,
            "weight": task.settings.weight,
        }
    )
    return details


def _keep(shown: Sequence[Exhibit], grid: Picture, context: StepContext) -> tuple[Artifact, ...]:
    """Puts every picture and the grid into the store."""
    artifacts = []
    for name, picture in (("grid.png", grid), *((e.artifact, e.picture) for e in shown)):
        path = context.workdir / name
        path.write_bytes(png_bytes(picture))
        artifacts.append(context.keep(name, path, MEDIA_TYPE))
        path.unlink()
    return tuple(artifacts)
