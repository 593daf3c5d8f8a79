"""Steps as jobs on a repository's own runners: each attempt is a run of one of its workflows.

A job has none of this machine's files. It plans the same commit for itself, does the stage of the
LoRA that it is asked for, and leaves what it made in a workflow artifact, as other jobs do.
Source: https://docs.github.com/en/rest/actions/workflows#create-a-workflow-dispatch-event
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import msgspec

import lora_ci
from lora_ci.core.clock import Clock
from lora_ci.core.errors import InfrastructureError, IntegrityError, LoraCIError, machine_error
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.plan import Action, Record
from lora_ci.core.run import RunView, StepView
from lora_ci.core.step import Outcome, StepResult, StepSpec
from lora_ci.core.text import clean
from lora_ci.execution.executor import Attempt, Executor, ExecutorAwayError, Phase, step_folder
from lora_ci.execution.local import need_one_machine
from lora_ci.forge.github.answer import Refused
from lora_ci.forge.github.artifacts import fetch_bundle
from lora_ci.forge.github.client import GitHubClient, Unreachable
from lora_ci.steps.folder import StepFolder
from lora_ci.store.store import ArtifactStore

LOG = logging.getLogger("lora_ci.execution")

PREFIX = "actions-"
WORKFLOW = "lora-ci-step.yml"
# How a run is named: `run-name` of the workflow.
TITLE = "lora-ci "
ARTIFACT = "lora-ci-step-"
HERE = "here/"
DISPATCHED = "workflow_dispatch"
CANCELLED = "cancelled"
LEFT_NOTHING = "it left nothing"
WAITING = ("queued", "waiting", "requested", "pending")
# GitHub counts what is asked, and a job takes minutes.
EVERY_S = 15.0
# A run that was begun is in GitHub's list after so long; sooner nobody begins it a second time.
LISTED_S = 60.0
LOOK_EVERY_S = 3.0
# Clocks differ, and a list has a thousand runs at most.
LATELY = timedelta(days=2)

# Gives records to whoever looks for them, with the name of what carries their artifacts.
Publish = Callable[[tuple[Record, ...], str], object]


class TokenEndedError(LoraCIError):
    """GitHub takes our token no longer: waiting would not help."""

    rule = "github.token-ended"


class _Repository(msgspec.Struct, frozen=True):
    default_branch: str


class _Run(msgspec.Struct, frozen=True):
    id: int
    display_title: str
    status: str
    conclusion: str | None
    html_url: str


class _Runs(msgspec.Struct, frozen=True):
    workflow_runs: tuple[_Run, ...]


class _Begun(msgspec.Struct, frozen=True):
    workflow_run_id: int
    html_url: str


class _Part(msgspec.Struct, frozen=True):
    """What a job left: its view of the run, and the records of what it did."""

    view: RunView
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionsExecutor:
    """Runs of `workflow` on the default branch, about what was `asked` (JSON of a `Run`).

    Steps that need no GPU are done `here`. Records of what jobs did are published before others
    begin, so that they find them. A handle is `run id:folder's name:key`, or that of `here`.
    GitHub is asked about each run at most `every_s`. The token has `actions: write`.
    """

    client: GitHubClient
    repo: str
    asked: str
    state: Path
    store: ArtifactStore
    here: Executor
    publish: Publish
    clock: Clock
    workflow: str = WORKFLOW
    every_s: float = EVERY_S
    _known: dict[str, tuple[float, Phase]] = field(default_factory=dict)
    _unclear: dict[str, float] = field(default_factory=dict)
    _looked: dict[str, float] = field(default_factory=dict)

    lag_s = 0.0

    @property
    def name(self) -> str:
        """Nobody else's handles can be asked about with this repository's token."""
        return PREFIX + hashlib.sha256(self.repo.lower().encode()).hexdigest()[:16]

    def submit(self, attempt: Attempt) -> str:
        if attempt.spec.resources.gpus == 0:
            return HERE + self.here.submit(attempt)
        need_one_machine(attempt.spec.resources)
        # Keys are of a ledger, and there may be several.
        folder = attempt.folder.path.absolute()
        whose = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
        key = f"{attempt.key}-{whose}"
        try:
            begun = self._look(key) or self._dispatch(key, attempt.spec)
        except Unreachable as error:
            raise ExecutorAwayError(str(error)) from error
        except Refused as refused:
            raise self._not_begun(refused) from refused
        _say(attempt.folder, f"a job of {self.workflow} does it: {begun.html_url}")
        return f"{begun.workflow_run_id}:{folder.name}:{key}"

    def phases(self, handles: Collection[str]) -> Mapping[str, Phase]:
        own = {h.removeprefix(HERE): h for h in handles if h.startswith(HERE)}
        found = {own[h]: phase for h, phase in self.here.phases(own).items()} if own else {}
        return found | {h: self._phase(h) for h in handles if not h.startswith(HERE)}

    def cancel(self, handle: str, *, hard: bool) -> None:
        if handle.startswith(HERE):
            self.here.cancel(handle.removeprefix(HERE), hard=hard)
            return
        self._cancel(int(handle.partition(":")[0]), "force-cancel" if hard else "cancel")
        self._known.pop(handle, None)

    def clear(self, handle: str) -> None:
        self._known.pop(handle, None)
        if handle.startswith(HERE):
            self.here.clear(handle.removeprefix(HERE))

    @property
    def _path(self) -> str:
        return f"/repos/{self.repo}/actions"

    @property
    def _workflow(self) -> str:
        return f"{self._path}/workflows/{self.workflow}"

    # How a run begins

    def _look(self, key: str) -> _Begun | None:
        """The run of a key, if there is one.

        Raises ExecutorAwayError where one may have begun that GitHub does not list yet.
        """
        now, unclear = self.clock.monotonic(), self._unclear.get(key)
        waits = unclear is not None and now - unclear < LISTED_S
        if waits and now - self._looked.get(key, -LOOK_EVERY_S) < LOOK_EVERY_S:
            raise _not_known(key)
        self._looked[key] = now
        run = min(self._named(key), key=lambda run: run.id, default=None)
        if run is None and waits:
            raise _not_known(key)
        self._unclear.pop(key, None)
        self._looked.pop(key, None)
        return None if run is None else _Begun(workflow_run_id=run.id, html_url=run.html_url)

    def _named(self, key: str) -> Iterable[_Run]:
        since = (self.clock.now() - LATELY).date().isoformat()
        params = {"event": DISPATCHED, "created": f">={since}"}
        pages = self.client.pages(f"{self._workflow}/runs", _Runs, params)
        return (r for page in pages for r in page.workflow_runs if r.display_title == TITLE + key)

    def _dispatch(self, key: str, spec: StepSpec) -> _Begun:
        """Starts the run of a key."""
        branch = self.client.get(f"/repos/{self.repo}", _Repository).default_branch
        inputs = {"key": key, "asked": self.asked, "lora": spec.lora, "stage": str(spec.stage)}
        body = {"ref": branch, "inputs": inputs, "return_run_details": True}
        try:
            return self.client.create_once(f"{self._workflow}/dispatches", body, _Begun)
        except Unreachable:
            # It may have begun; an older server never says what did.
            self._unclear[key] = self.clock.monotonic()
            raise

    def _not_begun(self, refused: Refused) -> LoraCIError:
        message = f"no job of {self.workflow} could be started in {self.repo}: {refused}"
        hint = {
            401: "the token is wrong, expired or revoked",
            403: "next: give the token, or the App, the permission `actions: write`",
            404: f"next: is .github/workflows/{self.workflow} on the default branch, and has the "
            "token `actions: write`? docs/github.md, Steps of a bot on your runners",
            422: f"next: compare .github/workflows/{self.workflow} with docs/github.md",
        }.get(refused.status)
        return InfrastructureError(message, hint=hint)

    # How it goes

    def _phase(self, handle: str) -> Phase:
        now = self.clock.monotonic()
        at, phase = self._known.get(handle, (None, Phase.QUEUED))
        if at is None or now - at >= self.every_s:
            phase = self._ask(handle)
            self._known[handle] = now, phase
        if phase is Phase.ENDED:
            del self._known[handle]
        return phase

    def _ask(self, handle: str) -> Phase:
        number, name, key = handle.split(":", 2)
        folder = step_folder(self.state, name)
        try:
            run = self.client.get(f"{self._path}/runs/{number}", _Run)
        except Refused as refused:
            if refused.status == 404:
                _say(folder, f"GitHub knows nothing of the job's run {number} any more")
                return Phase.ENDED
            raise _unusable(refused) from refused
        if run.status != "completed":
            return Phase.QUEUED if run.status in WAITING else Phase.RUNNING
        self._take(run, folder, key)
        return Phase.ENDED

    def _take(self, run: _Run, folder: StepFolder, key: str) -> None:
        """Puts what the job left into the step's folder and the store, once."""
        try:
            spec = folder.read_spec()
            known = folder.read_result(spec.fingerprint)
        except InfrastructureError as error:
            LOG.warning("attempt.unreadable key=%s why=%s", key, error)
            return
        if known is not None:
            return
        part, why = self._part(run, key)
        ended = f"the job ended as {run.conclusion}"
        result = _result_of(part, spec) if part else None
        if part and result is None:
            why = _why_not(part, spec)
        if part and part.records:
            self._publish(part.records, key)
        # The last words, where there is no result.
        _say(folder, f"{ended}{f'; {why}' if result is None else ''}: {run.html_url}")
        if result is None and run.conclusion == CANCELLED:
            # By a person, or by GitHub after too long; no fault of the step.
            result = StepResult(outcome=Outcome.INTERRUPTED)
        if result is not None:
            folder.write_result(spec.fingerprint, result)
        # Two may have begun where an answer was lost; the younger waits for this one's end.
        for other in self._named(key):
            if other.id != run.id and other.status != "completed":
                self._cancel(other.id, "cancel")

    def _part(self, run: _Run, key: str) -> tuple[_Part | None, str]:
        """What a job left; else why there is nothing."""
        with tempfile.TemporaryDirectory(prefix="lora-ci-") as place:
            try:
                data = fetch_bundle(
                    self.client, self.repo, run.id, ARTIFACT + key,
                    place=Path(place), store=self.store,
                )  # fmt: skip
                return (msgspec.json.decode(data, type=_Part), "") if data else (None, LEFT_NOTHING)
            except Refused as refused:
                if refused.status == 401:
                    raise _unusable(refused) from refused
                return None, f"what it left cannot be had: {refused}"
            except (IntegrityError, msgspec.DecodeError, ValueError, RecursionError) as error:
                return None, f"what it left cannot be read: {error}"
            except OSError as error:
                raise machine_error(error, place) or error from error

    def _publish(self, records: tuple[Record, ...], key: str) -> None:
        try:
            self.publish(records, ARTIFACT + key)
        except LoraCIError as error:
            # The next job does it again, then.
            LOG.warning("records.unpublished key=%s why=%s", key, error)

    def _cancel(self, number: int, how: str) -> None:
        try:
            self.client.create(
                f"{self._path}/runs/{number}/{how}", {}, dict[str, object], look=None
            )
        except Refused as refused:
            # It has ended, or is not known any more.
            if refused.status not in (404, 409):
                raise


def _result_of(part: _Part, spec: StepSpec) -> StepResult | None:
    """The step's result in what a job left."""
    for step in _steps_of(part, spec):
        theirs = step.decision.fingerprint.value if step.decision.fingerprint else ""
        if step.result is None:
            continue
        if theirs == spec.fingerprint:
            return step.result
        if step.result.outcome not in (Outcome.ERROR, Outcome.INTERRUPTED):
            return _other_work(step, spec)
    return None


def _why_not(part: _Part, spec: StepSpec) -> str:
    """Why a job has no result of the step."""
    decisions = [step.decision for step in _steps_of(part, spec)]
    blocked = next((d.why for d in decisions if d.action is Action.BLOCKED), None)
    return f"it was not to do it: {blocked}" if blocked else "it did not come as far as this step"


def _steps_of(part: _Part, spec: StepSpec) -> list[StepView]:
    """What a job left about the stage of the LoRA."""
    steps = part.view.of(spec.lora)
    return [step for step in steps if step.decision.stage is spec.stage]


def _other_work(step: StepView, spec: StepSpec) -> StepResult:
    """The job's plan was another: what it made is not what was asked for."""
    theirs = step.decision.fingerprint.value[:12] if step.decision.fingerprint else "none"
    finding = Finding(
        rule="step.other-work",
        severity=Severity.ERROR,
        message=f"the job planned {spec.stage} of {spec.lora} with the fingerprint {theirs}, and "
        f"this machine, with lora-ci {lora_ci.__version__}, with {spec.fingerprint[:12]}",
        hint="next: the same commit of lora-ci here and in the workflow of the job",
    )
    return StepResult(outcome=Outcome.ERROR, findings=(finding,))


def _not_known(key: str) -> ExecutorAwayError:
    return ExecutorAwayError(f"GitHub did not say whether the run {TITLE}{key} has begun")


def _unusable(refused: Refused) -> LoraCIError:
    """A token that has ended will not do again; else somebody may give it the right."""
    if refused.status != 401:
        return refused
    hint = "next: the same command with a new GITHUB_TOKEN; the jobs go on, and it finds them"
    return TokenEndedError(f"the jobs cannot be waited for any longer: {refused}", hint=hint)


def _say(folder: StepFolder, line: str) -> None:
    """Adds a line to the step's log."""
    with folder.log.open("a", encoding="utf-8") as log:
        log.write(f"{clean(line)}\n")
