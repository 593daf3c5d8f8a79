"""A run's view → the page, the comment, the checks and the releases.

Showing a result never changes it: what cannot be published becomes a note.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from lora_ci.app.announce import (
    CHECK,
    attempt,
    may_be_head,
    publish_comment,
    publish_run_check,
)
from lora_ci.app.previews import page_previews, read_png
from lora_ci.app.votes import with_votes
from lora_ci.app.wiring import Deps
from lora_ci.core.errors import InfrastructureError, InputError
from lora_ci.core.event import EventKind, Trust
from lora_ci.core.finding import Finding
from lora_ci.core.run import RunView, StepView
from lora_ci.core.step import Outcome, Stage
from lora_ci.core.sweep import Sweep
from lora_ci.forge.forge import Button, Check, LineComment, ReleaseDraft, Suggests
from lora_ci.report.annotations import to_annotations
from lora_ci.report.comment import render_check, render_comment
from lora_ci.report.findings import findings_of
from lora_ci.report.page import render_page
from lora_ci.report.picture import png_size
from lora_ci.report.reason import details_of, lora_outcome, lora_reason, result_of
from lora_ci.report.release_notes import render_release_notes
from lora_ci.report.sweep_comment import suggestion_words
from lora_ci.report.twin import render_twin

GRID = "grid.png"
RETRAIN = Button(id="retrain", label="Train again", description="Though nothing has changed")
# What a git host takes as one picture.
PICTURE_BYTES = 10 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Where the report is (None: nowhere), and what could not be shown."""

    address: str | None
    notes: tuple[Finding, ...]


def publish(view: RunView, deps: Deps) -> Published:
    """Shows the run wherever the forge shows things. Never raises."""
    notes: list[Finding] = []
    trying = partial(attempt, notes, view.run_id)
    view = trying("the votes", partial(with_votes, view, deps.ledger)) or view
    pictures = trying("the pictures", lambda: page_previews(view, deps.store, notes))
    address = trying(
        "the report",
        lambda: deps.forge.publish_report(
            view.run_id, render_page(view, pictures), render_twin(view)
        ),
    )
    grids = {}
    for lora in view.loras():
        grid = trying(f"the grid of {lora}", partial(_publish_grid, view, lora, deps))
        if grid:
            grids[lora] = grid
    body = trying("the comment", lambda: render_comment(view, address, grids)) or ""
    event, forge, host = view.event, deps.forge, deps.host
    trying("the comment", partial(publish_comment, event, event.head, body, forge, host))
    run_check = partial(publish_run_check, view, deps.forge, body, buttons=deps.buttons)
    trying("the check", run_check)
    for lora in view.loras():
        check = partial(_publish_check, view, lora, deps, address, grids.get(lora))
        trying(f"the check of {lora}", check)
        trying(f"the release of {lora}", partial(_publish_release, view, lora, deps, address))
    for sweep in view.sweeps:
        trying(f"the change of {sweep.of}", partial(_publish_suggestion, view, sweep, deps))
    return Published(address=address, notes=(*notes, *deps.forge.notes()))


def _publish_grid(view: RunView, lora: str, deps: Deps) -> str | None:
    result = result_of(view.of(lora), Stage.QA)
    artifact = result.artifact(GRID) if result else None
    if artifact is None:
        return None
    png = read_png(deps.store, artifact.sha256, PICTURE_BYTES)
    if png_size(png) is None:
        raise InputError(f"{GRID} of {lora} is not in the store, no PNG, or too large")
    return deps.forge.publish_picture(f"{lora}-{GRID}", png)


def _publish_check(
    view: RunView, lora: str, deps: Deps, address: str | None, grid: str | None
) -> None:
    steps = view.of(lora)
    check = Check(
        head=view.event.head,
        name=f"{CHECK} / {lora}",
        outcome=lora_outcome(view, lora),
        title=lora_reason(view, lora),
        summary=render_check(view, lora, address, grid),
        annotations=to_annotations(findings_of(view.whole(lora))),
        buttons=(RETRAIN,) if deps.buttons and trained(steps) else (),
    )
    deps.forge.publish_check(check)


def trained(steps: tuple[StepView, ...]) -> bool:
    """True if there is an adapter, old or new."""
    result = result_of(steps, Stage.TRAIN)
    return result is not None and result.outcome is Outcome.PASSED


def _publish_suggestion(view: RunView, sweep: Sweep, deps: Deps) -> None:
    """The change that settles a matrix, at its lines of a pull request; never in a foreign one."""
    event, forge = view.event, deps.forge
    if event.kind is not EventKind.PULL_REQUEST or event.number is None:
        return
    if event.trust is not Trust.TRUSTED or not isinstance(forge, Suggests):
        return
    if not may_be_head(event.head, event.number, deps.host):
        return
    comment = None
    if change := sweep.suggestion:
        comment = LineComment(
            path=change.path,
            first_line=change.first_line,
            last_line=change.last_line,
            body=suggestion_words(sweep),
        )
    forge.suggest(event.number, event.head, sweep.of, comment)


def _publish_release(view: RunView, lora: str, deps: Deps, address: str | None) -> None:
    """What was deployed, with all of its files: one that was published could not be completed."""
    result = result_of(view.of(lora), Stage.DEPLOY)
    release = details_of(view.of(lora))[Stage.DEPLOY].release
    if result is None or release is None or result.outcome is not Outcome.PASSED:
        return
    digests = {a.name: a.sha256 for a in result.artifacts}
    digests |= {file.name: file.sha256 for file in release.files}
    absent = sorted(name for name, sha256 in digests.items() if not deps.store.has(sha256))
    if absent:
        message = f"not in the store of this machine: {', '.join(absent)}"
        raise InfrastructureError(message, hint="next: lora-ci report, on the one that released it")
    files = {name: deps.store.get(sha256) for name, sha256 in digests.items()}
    tag = view.event.tag or f"{lora}@v{release.version}"
    notes = render_release_notes(view, lora, address)
    deps.forge.publish_release(
        ReleaseDraft(
            tag=tag,
            commit=view.event.head,
            title=f"{lora} {release.version}",
            notes=notes,
            files=files,
        )
    )
