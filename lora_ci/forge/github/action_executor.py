"""Steps as jobs on a repository's own runners: each attempt is a run of one of its workflows.

A job has none of this machine's files. It plans the same commit for itself, does the stage of the
LoRA that it is asked for, and leaves what it made in a workflow artifact, as other jobs do.
Source: https://docs.github.com/en/rest/actions/workflows#create-a-workflow-dispatch-event
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lora_ci.core.errors import InfrastructureError, IntegrityError, LoraCIError
from lora_ci.core.plan import Record
from lora_ci.core.run import RunView
from lora_ci.core.step import Outcome, StepResult
from lora_ci.core.text import clean
from lora_ci.execution.executor import Attempt, Executor, ExecutorAwayError, Phase, step_folder
from lora_ci.forge.github.answer import Refused
from lora_ci.forge.github.artifacts import fetch_bundle
from lora_ci.forge.github.client import GitHubClient, Unreachable
from lora_ci.steps.folder import StepFolder
from lora_ci.store.store import ArtifactStore

PREFIX = "actions-"
WORKFLOW = "lora-ci-step.yml"
# How a run is named: `run-name` of the workflow.
TITLE = "lora-ci "
ARTIFACT = "lora-ci-step-"
HERE = "here/"
DISPATCHED = "workflow_dispatch"
WAITING = ("queued", "waiting", "requested", "pending")
RIGHTS = "next: give the token or App `actions: write`; is {workflow} on the default branch?"

# Gives records to whoever looks for them, with the name of what carries their artifacts.
Publish = Callable[[tuple[Record, ...], str], object]


class _Run(msgspec.Struct, frozen=True):
    id: int
    display_title: str
    status: str
    conclusion: str | None
    html_url: str


class _Runs(msgspec.Struct, frozen=True):
    workflow_runs: tuple[_Run, ...]


class _Dispatched(msgspec.Struct, frozen=True):
    workflow_run_id: int


class _Part(msgspec.Struct, frozen=True):
    """What a job left: its view of the run, and the records of what it did."""

    view: RunView
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionsExecutor:
    """Runs of `workflow` on the branch `ref`, about what was `asked` (JSON of `app.commands.Run`).

    Steps that need no GPU are done `here`. Records of what jobs did are published before others
    begin, so that they find them. A handle is `run id:folder's name:key`, or that of `here`.
    """

    client: GitHubClient
    repo: str
    ref: str
    asked: str
    state: Path
    store: ArtifactStore
    here: Executor
    publish: Publish
    workflow: str = WORKFLOW

    lag_s = 0.0

    @property
    def name(self) -> str:
        """Nobody else's handles can be asked about with this repository's token."""
        return PREFIX + hashlib.sha256(self.repo.lower().encode()).hexdigest()[:16]

    def submit(self, attempt: Attempt) -> str:
        if attempt.spec.resources.gpus == 0:
            return HERE + self.here.submit(attempt)
        # Keys are of a ledger, and there may be several.
        folder = attempt.folder.path.absolute()
        whose = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
        key = f"{attempt.key}-{whose}"
        run = self._find(key) or self._dispatch(key, attempt)
        return f"{run}:{folder.name}:{key}"

    def phases(self, handles: Collection[str]) -> Mapping[str, Phase]:
        own = {h.removeprefix(HERE): h for h in handles if h.startswith(HERE)}
        found = {own[h]: phase for h, phase in self.here.phases(own).items()} if own else {}
        return found | {h: self._phase(h) for h in handles if not h.startswith(HERE)}

    def cancel(self, handle: str, *, hard: bool) -> None:
        if handle.startswith(HERE):
            self.here.cancel(handle.removeprefix(HERE), hard=hard)
            return
        how = "force-cancel" if hard else "cancel"
        path = f"{self._path}/runs/{handle.partition(':')[0]}/{how}"
        try:
            self.client.create(path, {}, dict[str, object], look=None)
        except Refused as refused:
            # It has ended, or is not known any more.
            if refused.status not in (404, 409):
                raise

    def clear(self, handle: str) -> None:
        if handle.startswith(HERE):
            self.here.clear(handle.removeprefix(HERE))

    @property
    def _path(self) -> str:
        return f"/repos/{self.repo}/actions"

    def _find(self, key: str) -> int | None:
        """The run of a key, if there is one."""
        path = f"{self._path}/workflows/{self.workflow}/runs"
        try:
            pages = self.client.pages(path, _Runs, {"event": DISPATCHED})
            return next(
                (
                    r.id
                    for page in pages
                    for r in page.workflow_runs
                    if r.display_title == TITLE + key
                ),
                None,
            )
        except Unreachable as error:
            raise ExecutorAwayError(str(error)) from error
        except Refused as refused:
            raise self._not_begun(refused) from refused

    def _dispatch(self, key: str, attempt: Attempt) -> int:
        """Starts the run of a key."""
        inputs = {
            "key": key,
            "asked": self.asked,
            "lora": attempt.spec.lora,
            "stage": str(attempt.spec.stage),
        }
        path = f"{self._path}/workflows/{self.workflow}/dispatches"
        body = {"ref": self.ref, "inputs": inputs, "return_run_details": True}

        def look() -> _Dispatched | None:
            run = self._find(key)
            return None if run is None else _Dispatched(workflow_run_id=run)

        try:
            return self.client.create(path, body, _Dispatched, look=look).workflow_run_id
        except Unreachable as error:
            raise ExecutorAwayError(str(error)) from error
        except Refused as refused:
            raise self._not_begun(refused) from refused

    def _not_begun(self, refused: Refused) -> LoraCIError:
        message = f"no job of {self.workflow} could be started in {self.repo}: {refused}"
        return InfrastructureError(message, hint=RIGHTS.format(workflow=self.workflow))

    def _phase(self, handle: str) -> Phase:
        number, name, key = handle.split(":", 2)
        try:
            run = self.client.get(f"{self._path}/runs/{number}", _Run)
        except Refused as refused:
            if refused.status == 404:
                return Phase.ENDED
            raise
        if run.status != "completed":
            return Phase.QUEUED if run.status in WAITING else Phase.RUNNING
        self._take(run, step_folder(self.state, name), key)
        return Phase.ENDED

    def _take(self, run: _Run, folder: StepFolder, key: str) -> None:
        """Puts what the job left into the step's folder and the store, once."""
        spec = folder.read_spec()
        if folder.read_result(spec.fingerprint) is not None:
            return
        with tempfile.TemporaryDirectory(prefix="lora-ci-") as place:
            try:
                data = fetch_bundle(self.client, self.repo, ARTIFACT + key, Path(place), self.store)
                part = msgspec.json.decode(data, type=_Part) if data else None
            except (IntegrityError, msgspec.DecodeError, ValueError) as error:
                part, why = None, f"; what it left cannot be read: {error}"
            else:
                why = "" if part else "; it left nothing"
        result, other = _result_of(part, spec.lora, spec.fingerprint, str(spec.stage))
        if result is None:
            why = why or other
            _say(folder, f"the job ended as {run.conclusion}{why}: {run.html_url}")
            return
        _say(folder, f"the job ended as {run.conclusion}: {run.html_url}")
        if part and part.records:
            self.publish(part.records, ARTIFACT + key)
        folder.write_result(spec.fingerprint, result)


def _result_of(
    part: _Part | None, lora: str, fingerprint: str, stage: str
) -> tuple[StepResult | None, str]:
    """The step's result in what a job left; else why there is none."""
    for step in part.view.steps if part else ():
        decision = step.decision
        if (decision.lora, decision.stage) != (lora, stage) or step.result is None:
            continue
        if decision.fingerprint is not None and decision.fingerprint.value == fingerprint:
            return step.result, ""
        if step.result.outcome not in (Outcome.ERROR, Outcome.INTERRUPTED):
            return None, "; it did other work of that name: is its lora-ci of this version?"
    return None, "; it did not come as far as this step"


def _say(folder: StepFolder, line: str) -> None:
    """Adds a line to the step's log: its last words, where there is no result."""
    with folder.log.open("a", encoding="utf-8") as log:
        log.write(f"{clean(line)}\n")
