"""Many LoRAs from folders in one run: what to do, what happens, and what came of each."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Literal

from lora_ci.app.folder_source import FolderSource, remembered
from lora_ci.app.gather import further_paths, input_paths
from lora_ci.changes.folder import read_folder
from lora_ci.changes.inputs import InputFacts
from lora_ci.config.document import Where
from lora_ci.config.jobs import read_jobs
from lora_ci.config.model import HubModel, Lora
from lora_ci.config.reading import Reading
from lora_ci.core.errors import InputError, LedgerAwayError, LoraCIError
from lora_ci.core.plan import Action, Plan
from lora_ci.core.run import RunView
from lora_ci.core.shard import owner_of
from lora_ci.core.step import Outcome, Stage
from lora_ci.ledger.attempts import Attempts, AttemptStory, StepBrief, StepStory
from lora_ci.ledger.queue import StepState
from lora_ci.plan.decide import ADAPTER
from lora_ci.report.reason import details_of, lora_outcome, lora_reason, recommended_weight
from lora_ci.report.reason import result_of as stage_result
from lora_ci.steps.folder import StepFolder
from lora_ci.store.store import ArtifactStore

# Below the state folder: the adapters by the names of their jobs.
ADAPTERS = "adapters"
SCHEMA = "lora-ci.batch/1"


def read_batch(file: Path, state: Path) -> FolderSource:
    """The jobs of a file and their folders as they are now; paths start from the file's folder.

    Raises:
        UsageError: with all that is wrong with the file, and each folder that is not there.
    """
    file = file.resolve()
    root = file.parent
    config = read_jobs(file, partial(_check_paths, root, state.resolve()))
    inputs: dict[str, InputFacts | InputError] = {}
    for path in dict.fromkeys(p for lora in config.loras.values() for p in input_paths(lora)):
        try:
            inputs[path] = read_folder(root / path, path)
        except InputError as error:
            inputs[path] = error
    return FolderSource(root=root, config=config, inputs=inputs, former=remembered(state))


def _check_paths(root: Path, state: Path, reading: Reading, lora: Lora) -> None:
    """Says which folders of a job are not there, or are those of lora-ci itself."""
    paths = [("dataset", source.path) for source in lora.dataset]
    if not isinstance(lora.base_model, HubModel):
        paths.append(("base_model", lora.base_model))
    paths += further_paths(lora).values()
    for key, path in paths:
        where = _place(reading, f"loras.{lora.name}.{key}")
        if not (root / path).exists():
            hint = f"next: ls {(root / path).parent}"
            reading.say("not-there", f"`{path}` is not there", where, hint)
        elif state.is_relative_to((root / path).resolve()):
            message = f"`{path}` holds lora-ci's own files ({state.name})"
            hint = "next: move images and captions into a folder of their own"
            reading.say("own-files", message, where, hint)


def _place(reading: Reading, path: str) -> Where:
    while path and path not in reading.places:
        path = path.rpartition(".")[0]
    return reading.places.get(path, Where(reading.file))


# What happens


Key = tuple[str, Stage]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What is to be done: the first event of a batch. `stages` are those that are to run."""

    event: Literal["planned"] = "planned"
    schema: str = SCHEMA
    run: str
    jobs: tuple[str, ...]
    stages: tuple[Key, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """An attempt at a stage of a job has begun."""

    event: Literal["started"] = "started"
    job: str
    stage: Stage
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed:
    """How far a stage is."""

    event: Literal["progress"] = "progress"
    job: str
    stage: Stage
    done: int
    total: int
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A stage has its result, after all its attempts; `why` says what is wrong with it."""

    event: Literal["ended"] = "ended"
    job: str
    stage: Stage
    outcome: Outcome
    seconds: float
    gpu_seconds: float
    why: str | None


Happened = Started | Progressed | Ended


@dataclass(slots=True)
class Watcher:
    """Tells what has happened to the steps of a run since it was last asked."""

    attempts: Attempts
    run_id: str
    _known: dict[int, StepBrief] = field(default_factory=dict)
    _told: dict[int, Progressed] = field(default_factory=dict)

    def look(self) -> list[Happened]:
        """What a ledger that is away does not tell now, it tells the next time."""
        happened: list[Happened] = []
        with suppress(LedgerAwayError):
            for step in self.attempts.briefs(self.run_id):
                happened += self._since(self._known.get(step.id), step)
                self._known[step.id] = step
        return happened

    def _since(self, before: StepBrief | None, step: StepBrief) -> list[Happened]:
        """What has become of a step since it was looked at before."""
        happened: list[Happened] = []
        if step.attempts > (before.attempts if before else 0):
            happened.append(Started(job=step.lora, stage=step.stage, attempt=step.attempts))
        if step.state is StepState.RUNNING:
            happened += self._progress(step)
        elif step.state is StepState.ENDED and not (before and before.state is step.state):
            happened += map(ended, self.attempts.steps(self.run_id, ids=[step.id]))
        return happened

    def _progress(self, step: StepBrief) -> Iterator[Progressed]:
        found = StepFolder(step.folder).read_progress()
        if found is None:
            return
        told = Progressed(
            job=step.lora, stage=step.stage, done=found.done, total=found.total, note=found.note
        )
        if self._told.get(step.id) != told:
            self._told[step.id] = told
            yield told


def ended(story: StepStory) -> Ended:
    """What is told of a step that has ended."""
    return Ended(
        job=story.lora,
        stage=story.stage,
        outcome=story.outcome or Outcome.ERROR,
        seconds=sum(map(_seconds, story.attempts)),
        gpu_seconds=story.gpu_s,
        why=story.why,
    )


def _seconds(attempt: AttemptStory) -> float:
    if attempt.ended_at is None:
        return 0.0
    began, end = map(datetime.fromisoformat, (attempt.started_at, attempt.ended_at))
    return max(0.0, (end - began).total_seconds())


@dataclass(slots=True)
class Board:
    """How a batch stands, from what has happened."""

    planned: Planned
    parallel: int
    running: dict[Key, Progressed | Started] = field(default_factory=dict)
    ended: dict[Key, Ended] = field(default_factory=dict)

    def apply(self, happened: Happened) -> None:
        """Takes in what has happened."""
        key = happened.job, happened.stage
        if isinstance(happened, Ended):
            self.running.pop(key, None)
            self.ended[key] = happened
        elif key not in self.ended:
            self.running[key] = happened

    def to_come(self) -> frozenset[Key]:
        """The stages that will still be begun, as far as is known: a failure ends its job."""
        stopped = {job for (job, _), end in self.ended.items() if end.outcome is not Outcome.PASSED}
        open_ones = set(self.planned.stages) - self.ended.keys() - self.running.keys()
        return frozenset(key for key in open_ones if key[0] not in stopped)

    def left_s(self) -> float | None:
        """Seconds that all will still take, as the stages that ended tell; None while unknown."""
        took: dict[Stage, list[float]] = {}
        for (_, stage), end in self.ended.items():
            took.setdefault(stage, []).append(end.seconds)
        left = [*self.to_come(), *self.running]
        if not left or any(stage not in took for _, stage in left):
            return None
        mean = {stage: sum(all_of) / len(all_of) for stage, all_of in took.items()}
        whole = sum(mean[stage] for _, stage in self.to_come())
        begun = sum(mean[key[1]] * (1 - _share(it)) for key, it in self.running.items())
        return (whole + begun) / self.parallel


def _share(it: Progressed | Started) -> float:
    return it.done / it.total if isinstance(it, Progressed) and it.total > 0 else 0.0


def to_run(plan: Plan) -> tuple[Key, ...]:
    """What a plan will run, now or later."""
    wanted = (Action.RUN, Action.WAIT)
    return tuple((d.lora, d.stage) for d in plan.decisions if d.action in wanted)


# What came of it


@dataclass(frozen=True, slots=True, kw_only=True)
class JobResult:
    """What a job came to. `stages` has the outcome of each stage that has a result.

    `score` is the overall one of QA, `weight` what is recommended; both None where there is none.
    """

    job: str
    outcome: Outcome | None
    reason: str
    score: float | None
    weight: float | None
    seconds: float
    gpu_seconds: float
    reused: bool
    adapter: str | None
    stages: Mapping[Stage, Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchResult:
    """What a batch came to: as bad as its worst job. `report` is the page."""

    event: Literal["summary"] = "summary"
    schema: str = SCHEMA
    run: str
    outcome: Outcome | None
    seconds: float
    gpu_seconds: float
    report: str | None
    jobs: tuple[JobResult, ...]


def batch_result(
    view: RunView, stories: tuple[StepStory, ...], adapters: Mapping[str, Path], report: Path
) -> BatchResult:
    """All of a run that has ended; `stories` are the steps that it did itself."""
    ends = [ended(story) for story in stories]
    jobs = tuple(_job(view, job, ends, adapters.get(job)) for job in view.loras())
    return BatchResult(
        run=view.run_id,
        outcome=view.outcome,
        seconds=view.duration_s,
        gpu_seconds=sum(end.gpu_seconds for end in ends),
        report=str(report) if report.exists() else None,
        jobs=jobs,
    )


def _job(view: RunView, job: str, ends: list[Ended], adapter: Path | None) -> JobResult:
    steps, mine = view.of(job), [end for end in ends if owner_of(end.job) == job]
    overall = details_of(steps)[Stage.QA].overall
    return JobResult(
        job=job,
        outcome=lora_outcome(view, job),
        reason=lora_reason(view, job),
        score=overall.score if overall else None,
        weight=recommended_weight(steps),
        seconds=sum(end.seconds for end in mine),
        gpu_seconds=sum(end.gpu_seconds for end in mine),
        reused=bool(steps) and all(s.decision.action is Action.REUSE for s in steps),
        adapter=str(adapter) if adapter else None,
        stages={s.decision.stage: s.result.outcome for s in steps if s.result},
    )


def put_adapters(view: RunView, store: ArtifactStore, folder: Path) -> dict[str, Path]:
    """Writes each adapter as `<job>.safetensors`, whatever its verdict; where they are."""
    placed: dict[str, Path] = {}
    for job in view.loras():
        result = stage_result(view.of(job), Stage.TRAIN)
        artifact = result.artifact(ADAPTER) if result else None
        if artifact is None:
            continue
        with suppress(LoraCIError):  # gone or damaged: the step that needs it has said so
            source, target = store.get(artifact.sha256), folder / f"{job}.safetensors"
            folder.mkdir(parents=True, exist_ok=True)
            beside = target.with_name(f".{target.name}.{os.getpid()}")
            shutil.copyfile(source, beside)
            placed[job] = beside.replace(target)
    return placed
