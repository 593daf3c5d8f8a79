"""A bundle: the folder that carries what one job of a workflow did to the job that reports.

part.json      the run as that job saw it, and the records of what it did
objects/       what its steps made, as the store keeps it
adapters/      the adapters once more, under the names of their LoRAs
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter
from pathlib import Path

import msgspec

from lora_ci.core.clock import Clock
from lora_ci.core.errors import InfrastructureError, LoraCIError, UsageError
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.plan import Action, Record
from lora_ci.core.run import RunView, StepView, run_outcome
from lora_ci.core.shard import parse_shard
from lora_ci.core.step import Outcome, Stage, StepResult
from lora_ci.ledger.record_file import RUN
from lora_ci.plan.decide import ADAPTER
from lora_ci.report.reason import details_of
from lora_ci.steps.folder import write_whole
from lora_ci.store.store import ArtifactStore

PART = "part.json"
OBJECTS = "objects"
ADAPTERS = "adapters"
MAX_PART_BYTES = 64 << 20
MAX_BUNDLES = 10_000
SAME = "next: run all jobs with the same lora-ci"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """What one job knows of a run."""

    view: RunView
    records: tuple[Record, ...]
    name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """A run out of its bundles: records by the artifact that carries what they made."""

    view: RunView
    records: Mapping[str | None, tuple[Record, ...]]


def write_bundle(
    folder: Path,
    view: RunView,
    records: tuple[Record, ...],
    store: ArtifactStore,
    *,
    name: str | None,
    whole: Stage | None = None,
) -> None:
    """Puts the run and what it made into the folder; `name` is that of the artifact it becomes.

    Of the stage that is to be `whole`, what was reused is there too: whoever asked for it may have
    nothing of it. What is not in the store is left out: the store that it came from still has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for step in view.steps:
        if step.result is None:
            continue
        for sha256 in _digests(step, step.result, whole):
            _copy(sha256, store, folder / OBJECTS / sha256[:2] / sha256[2:])
        adapter = step.result.artifact(ADAPTER)
        trained = step.decision.stage is Stage.TRAIN and not parse_shard(step.decision.lora)
        if trained and adapter and view.outcome is not None:
            file = f"{step.decision.lora}{Path(ADAPTER).suffix}"
            _copy(adapter.sha256, store, folder / ADAPTERS / file)
    part = _Part(view=view, records=records, name=name)
    write_whole(folder / PART, msgspec.json.encode(part))


def _digests(step: StepView, result: StepResult, whole: Stage | None) -> tuple[str, ...]:
    """What the job that publishes cannot get otherwise: what was made here, and a whole release.

    An earlier run may have made the files of a release, in a store that only this machine sees.
    """
    made = tuple(artifact.sha256 for artifact in result.artifacts)
    release = details_of((step,))[Stage.DEPLOY].release
    if release:
        return (*made, *(file.sha256 for file in release.files))
    is_new = step.decision.action is Action.RUN
    return made if is_new or step.decision.stage is whole else ()


def adapters_in(folder: Path) -> tuple[Path, ...]:
    """The adapters of a bundle, by the names of their LoRAs."""
    return tuple(sorted((folder / ADAPTERS).glob("*")))


def read_bundles(
    folder: Path, store: ArtifactStore, clock: Clock, *, cancelled: bool = False
) -> Gathered:
    """The whole run out of the bundles below `folder`: the plan's, and one for each job.

    The objects go into the store. `cancelled`: what has no result was stopped, not lost.

    Raises:
        UsageError: there is no bundle of a plan, or there are several.
        InfrastructureError: one cannot be read.
    """
    places = sorted(path.parent for path in folder.glob(f"**/{PART}"))[:MAX_BUNDLES]
    parts = [_read_part(place / PART) for place in places]
    planned = _planned(folder, [part.view for part in parts])
    notes = [note for place in places for note in _take_objects(place / OBJECTS, store)]
    records: dict[str | None, tuple[Record, ...]] = defaultdict(tuple)
    for part in parts:
        records[part.name] += part.records
    ended = [part.view for part in parts if part.view.outcome is not None]
    of_it = [view for view in ended if _subject(view) == _subject(planned)]
    notes += [_foreign(view) for view in ended if view not in of_it]
    view = _merge(planned, of_it, tuple(notes), clock, cancelled=cancelled)
    return Gathered(view=view, records=records)


def _planned(folder: Path, views: Iterable[RunView]) -> RunView:
    """The one that says what the run is about."""
    plans = [view for view in views if view.outcome is None]
    if not plans:
        hint = "next: lora-ci plan --bundle FOLDER, before the jobs"
        raise UsageError(f"{folder}: no bundle of a plan", hint=hint)
    if len(plans) > 1:
        hint = "next: gather the bundles of one run, in a folder of their own"
        raise UsageError(f"{folder}: bundles of {len(plans)} plans", hint=hint)
    return plans[0]


def _subject(view: RunView) -> tuple[object, ...]:
    """What a run speaks for."""
    event = view.event
    return event.kind, event.head, event.number, event.tag


def _foreign(view: RunView) -> Finding:
    """An earlier attempt saw the pull request as it was then."""
    message = (
        f"a job's result is left out: it is of {view.event.head[:12]}, not of what was planned"
    )
    return Finding(rule="bundle.foreign", severity=Severity.WARNING, message=message)


def _merge(
    planned: RunView,
    ended: Sequence[RunView],
    notes: tuple[Finding, ...],
    clock: Clock,
    *,
    cancelled: bool,
) -> RunView:
    """What was planned, with what the jobs came to in its place.

    Of several attempts of a job the last one counts. What the plan blocked stays so, whatever a
    job says: it had no right to it.
    """
    last: dict[tuple[str, Stage], tuple[RunView, StepView]] = {}
    for view in sorted(ended, key=attrgetter("started_at")):
        last |= {(s.decision.lora, s.decision.stage): (view, s) for s in view.steps}
    steps = tuple(
        step
        if step.decision.action is Action.BLOCKED
        else last.get((step.decision.lora, step.decision.stage), (planned, step))[1]
        for step in planned.steps
    )
    stopped = cancelled or any(view.outcome is Outcome.INTERRUPTED for view, _ in last.values())
    if stopped:
        steps = tuple(_stopped(step) for step in steps)
    plan = replace(planned.plan, decisions=tuple(step.decision for step in steps))
    started_at = datetime.fromisoformat(planned.started_at)
    return replace(
        planned,
        plan=plan,
        steps=steps,
        duration_s=(clock.now() - started_at).total_seconds(),
        outcome=run_outcome(plan, steps, interrupted=stopped),
        notes=(*(note for view in ended for note in view.notes), *notes),
    )


def _stopped(step: StepView) -> StepView:
    """What was to run and has no result was kept from it."""
    if step.result is None and step.decision.action is Action.RUN:
        return replace(step, result=StepResult(outcome=Outcome.INTERRUPTED))
    return step


def _read_part(path: Path) -> _Part:
    try:
        if path.stat().st_size > MAX_PART_BYTES:
            raise InfrastructureError(f"{path}: over {MAX_PART_BYTES} bytes", hint=SAME)
        part = msgspec.json.decode(path.read_bytes(), type=_Part)
        # One becomes the name of a file, the other is counted with.
        whole = RUN.fullmatch(part.view.run_id) is not None
        whole = whole and datetime.fromisoformat(part.view.started_at).tzinfo is not None
    except (OSError, msgspec.DecodeError, ValueError, RecursionError) as error:
        raise InfrastructureError(f"{path}: no readable run ({error})", hint=SAME) from error
    if not whole:
        raise InfrastructureError(f"{path}: no readable run (its id or its time)", hint=SAME)
    return part


def _take_objects(folder: Path, store: ArtifactStore) -> list[Finding]:
    """Puts the files of a bundle into the store; what is not what its name says is told."""
    notes = []
    for path in sorted(folder.glob("??/*")):
        if path.is_symlink() or not path.is_file():
            continue
        found = store.put(path)
        if found != path.parent.name + path.name:
            message = f"{path.parent.name}{path.name[:10]}… of a bundle is damaged and is left out"
            notes.append(Finding(rule="bundle.damaged", severity=Severity.WARNING, message=message))
    return notes


def _copy(sha256: str, store: ArtifactStore, target: Path) -> None:
    """A copy of an artifact, if it is there and whole."""
    try:
        source = store.get(sha256)
    except LoraCIError:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
