"""What can be shown of a run before it has come to its end, and what both ends share.

Showing a result never changes it: what cannot be published becomes a note.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from lora_ci.core.errors import ExitCode, LoraCIError
from lora_ci.core.event import Event, EventKind
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.run import RunView
from lora_ci.core.step import Outcome
from lora_ci.forge.forge import Button, Check, Forge, Host
from lora_ci.forge.payload import Announced
from lora_ci.report.annotations import to_annotations
from lora_ci.report.comment import render_comment, render_refusal
from lora_ci.report.figures import shorten
from lora_ci.report.reason import reason

T = TypeVar("T")

CHECK = "lora-ci"
MOST_TITLE = 240
RUN_AGAIN = Button(id="run", label="Run again", description="What failed or was stopped")
APPROVE = Button(id="approve", label="Approve", description="Let this commit train on our GPUs")


def publish_running(view: RunView, forge: Forge, host: Host | None) -> tuple[Finding, ...]:
    """Shows a run that goes on: comment and check; the rest comes at its end. Never raises."""
    notes: list[Finding] = []
    trying = partial(attempt, notes, None)
    body = trying("the comment", partial(render_comment, view)) or ""
    trying("the comment", partial(publish_comment, view.event, view.event.head, body, forge, host))
    trying("the check", partial(publish_run_check, view, forge, body, buttons=False))
    return (*notes, *forge.notes())


def publish_comment(
    said: Event | Announced, head: str, body: str, forge: Forge, host: Host | None
) -> None:
    """Shows a run of `head` on its pull request, unless a newer head speaks for that by now."""
    if said.number and (
        said.kind is not EventKind.PULL_REQUEST or may_be_head(head, said.number, host)
    ):
        forge.upsert_comment(said.number, body)


def may_be_head(head: str, number: int, host: Host | None) -> bool:
    """False if the host says that the pull request has another head."""
    try:
        return host is None or host.pull_request(number).head == head
    except LoraCIError:
        return True  # not to be known: better said twice than not at all


def publish_refusal(
    error: LoraCIError, said: Announced, head: str, forge: Forge, host: Host | None
) -> None:
    """Shows why there is no run: the config is wrong, or the machine. Never raises."""
    notes: list[Finding] = []
    trying = partial(attempt, notes, None)
    body = trying("the comment", partial(render_refusal, error, head)) or ""
    trying("the comment", partial(publish_comment, said, head, body, forge, host))
    theirs = error.exit_code in (ExitCode.FAILED, ExitCode.USAGE)
    check = Check(
        head=head,
        name=CHECK,
        outcome=Outcome.FAILED if theirs else Outcome.ERROR,
        title=shorten(error.findings[0].message, MOST_TITLE),
        summary=body,
        annotations=to_annotations(error.findings),
    )
    trying("the check", partial(forge.publish_check, check))


def publish_run_check(view: RunView, forge: Forge, body: str, *, buttons: bool) -> None:
    """The check that speaks for the whole commit: its name is the same for every config.

    A run of some LoRAs says nothing of the others, so it is no pass.
    """
    passed = view.outcome is Outcome.PASSED
    check = Check(
        head=view.event.head,
        name=CHECK,
        outcome=Outcome.INCONCLUSIVE if passed and view.plan.left_out else view.outcome,
        title=reason(view),
        summary=body,
        annotations=to_annotations(view.plan.findings),
        buttons=_run_buttons(view) if buttons else (),
    )
    forge.publish_check(check)


def _run_buttons(view: RunView) -> tuple[Button, ...]:
    """What a person may want next of a run."""
    if view.plan.awaits_approval:
        return (APPROVE,)
    return () if view.outcome is Outcome.PASSED else (RUN_AGAIN,)


def attempt(notes: list[Finding], run_id: str | None, what: str, act: Callable[[], T]) -> T | None:
    """What the act gives; None, and a note, where it fails in any way.

    `run_id` is that of a run whose end is recorded, None where there is none yet.
    """
    try:
        return act()
    except Exception as error:  # noqa: BLE001 - a border: results are recorded, showing them is extra
        told = str(error) if isinstance(error, LoraCIError) else f"{type(error).__name__}: {error}"
        hint = f"the results are recorded; next: lora-ci report {run_id}" if run_id else None
        notes.append(note_of("publish.failed", f"{what} could not be published: {told}", hint))
        return None


def note_of(rule: str, message: str, hint: str | None = None) -> Finding:
    """A warning about what is not shown."""
    return Finding(rule=rule, severity=Severity.WARNING, message=message, hint=hint)
