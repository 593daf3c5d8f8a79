"""A repository on a fake GitHub whose own runner is this machine, with a folder of its own.

A job is what `step.yml` does, in short: it finds the step that it is asked for, does it where
nobody else sees its files, and uploads its bundle.
"""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from zipfile import ZipFile

from lora_ci.app.bundle import write_bundle
from lora_ci.core.changeset import ChangeSet
from lora_ci.core.clock import Clock, SystemClock
from lora_ci.core.event import Event, EventKind
from lora_ci.core.fingerprint import Fingerprint
from lora_ci.core.plan import Action, Decision, Plan, Record
from lora_ci.core.run import RunView, StepView
from lora_ci.core.step import StepResult, StepSpec
from lora_ci.execution.executor import Attempt, Executor
from lora_ci.execution.local import Command, LocalExecutor
from lora_ci.execution.processes import kill_marked
from lora_ci.forge.github.action_executor import WORKFLOW, ActionsExecutor
from lora_ci.forge.github.open import open_client
from lora_ci.plan.estimate import total
from lora_ci.steps.folder import StepFolder
from lora_ci.store.local import LocalStore
from tests.fake_github import FakeGitHub
from tests.fake_github.state import Artifact, Repo, WorkflowRun

REPO = "acme/loras"
RUN = "20261124-120000-abcd1234"
# By it GitHub's runner finds what a job left running.
MARK = "RUNNER_TRACKING_ID"
JOB_S = 120.0


@dataclass
class StepRunner:
    """The machine of a repository. Implements `fake_github.state.Machine`.

    `root` is where steps are known, `version` what its lora-ci makes of a fingerprint, `blocked`
    why its plan does nothing.
    """

    hub: FakeGitHub
    root: Path
    command: Command
    version: Callable[[str], str] = lambda fingerprint: fingerprint
    blocked: str = ""
    begun: list[Mapping[str, str]] = field(default_factory=list)
    threads: list[threading.Thread] = field(default_factory=list)
    processes: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    cancelled: set[int] = field(default_factory=set)

    @property
    def repo(self) -> Repo:
        return self.hub.repo(REPO)

    @property
    def store(self) -> LocalStore:
        return LocalStore(self.root / "runner" / "objects")

    def begin(self, run: WorkflowRun, inputs: Mapping[str, str]) -> None:
        self.begun.append(inputs)
        thread = threading.Thread(target=self._work, args=(run, inputs))
        self.threads.append(thread)
        thread.start()

    def cancel(self, run: WorkflowRun, *, hard: bool) -> None:
        self.cancelled.add(run.id)
        if process := self.processes.get(run.id):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL if hard else signal.SIGTERM)

    def close(self) -> None:
        """Ends what goes on."""
        for run in list(self.repo.runs.values()):
            self.cancel(run, hard=True)
        for thread in self.threads:
            thread.join(JOB_S)

    def folder(self, spec: StepSpec) -> StepFolder:
        """Where the step is done."""
        return StepFolder(self.root / "runner" / "steps" / spec.fingerprint[:32])

    def upload(self, run: WorkflowRun, key: str, data: bytes) -> Artifact:
        """Keeps a zip as what the job of a key left."""
        with self.hub.lock:
            artifact = Artifact(
                self.hub.new_id(), f"lora-ci-step-{key}", run.id, data, self.hub.now()
            )
            self.repo.artifacts[artifact.id] = artifact
            return artifact

    def _work(self, run: WorkflowRun, inputs: Mapping[str, str]) -> None:
        specs = [StepFolder(p.parent).read_spec() for p in self.root.glob("steps/*/spec.json")]
        wanted = inputs["lora"], inputs["stage"]
        (spec,) = (s for s in specs if (s.lora, s.stage) == wanted)
        folder = self.folder(spec)
        folder.write_spec(spec)
        folder.drop_result()
        if run.id not in self.cancelled:
            self._execute(run, inputs["key"], folder)
        result = folder.read_result(spec.fingerprint)
        if result is not None:
            self.upload(run, inputs["key"], self.bundle(spec, result))
        with self.hub.lock:
            failed = "success" if result else "failure"
            run.conclusion = "cancelled" if run.id in self.cancelled else failed
            run.status = "completed"

    def _execute(self, run: WorkflowRun, key: str, folder: StepFolder) -> None:
        command = self.command(folder, self.root / "runner" / "objects", self.root / "cache")
        environment = {"PATH": os.environ["PATH"], "LC_TOY": "shown", MARK: key}
        with folder.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env=environment, start_new_session=True,
            )  # fmt: skip
        self.processes[run.id] = process
        with self.hub.lock:
            run.status = "in_progress"
            stop = run.id in self.cancelled
        if stop:
            self.cancel(run, hard=False)
        process.wait(JOB_S)
        kill_marked(f"{MARK}={key}")

    def bundle(self, spec: StepSpec, result: StepResult) -> bytes:
        """What the job leaves, zipped."""
        value = self.version(spec.fingerprint)
        decision = Decision(
            lora=spec.lora, stage=spec.stage, why=self.blocked or "test",
            action=Action.BLOCKED if self.blocked else Action.RUN,
            fingerprint=Fingerprint(stage=spec.stage, value=value, parts={}),
        )  # fmt: skip
        step = StepView(decision=decision, result=None if self.blocked else result)
        plan = Plan(
            head="h", decisions=(decision,), changes=ChangeSet(base=None, head="h"), findings=(),
            estimate=total(()), releasable=(),
        )  # fmt: skip
        view = RunView(
            run_id=RUN, event=Event(kind=EventKind.PUSH, repo="r", head="h"), plan=plan,
            steps=(step,), started_at="2026-11-24T12:00:00+00:00", duration_s=1.0,
            outcome=result.outcome,
        )  # fmt: skip
        record = Record(
            fingerprint=value, stage=spec.stage, lora=spec.lora, parts={}, result=result,
            run_id=RUN, commit="h", finished_at="2026-11-24T12:00:01+00:00",
        )  # fmt: skip
        place = self.hub.scratch()
        write_bundle(place, view, (record,), self.store, name=None)
        return zipped(place)


def zipped(place: Path) -> bytes:
    """A folder as a workflow artifact."""
    memory = io.BytesIO()
    with ZipFile(memory, "w") as file:
        for path in sorted(p for p in place.rglob("*") if p.is_file()):
            file.write(path, path.relative_to(place).as_posix())
    return memory.getvalue()


@dataclass(frozen=True)
class OnGpus:
    """An executor whose every step needs a GPU."""

    executor: ActionsExecutor

    @property
    def name(self) -> str:
        return self.executor.name

    @property
    def lag_s(self) -> float:
        return self.executor.lag_s

    def submit(self, attempt: Attempt) -> str:
        resources = replace(attempt.spec.resources, gpus=1)
        spec = replace(attempt.spec, resources=resources)
        return self.executor.submit(replace(attempt, spec=spec))

    def phases(self, handles):
        return self.executor.phases(handles)

    def cancel(self, handle: str, *, hard: bool) -> None:
        self.executor.cancel(handle, hard=hard)

    def clear(self, handle: str) -> None:
        self.executor.clear(handle)


@dataclass
class ActionsPlace:
    """The repository, its machine, and executors that ask for it. `published` are names."""

    hub: FakeGitHub
    runner: StepRunner
    published: list[tuple[tuple[Record, ...], str]] = field(default_factory=list)

    def executor(
        self, root: Path, *, token: str | None = None, clock: Clock | None = None, **options: object
    ) -> ActionsExecutor:
        """An executor of a process; with another token, say."""
        clock = clock or SystemClock()
        client = open_client(
            token or self.hub.token({"actions": "write"}),
            clock=clock, rng=random.Random(1), api_url=self.hub.api_url, deadline_s=5.0,
        )  # fmt: skip
        store = LocalStore(root / "objects")
        given = {
            "client": client, "repo": REPO, "asked": '{"event": {}}', "state": root,
            "store": store, "here": LocalExecutor(root / "objects", root / "cache"),
            "publish": lambda records, name: self.published.append((records, name)),
            "clock": clock, "every_s": 0.05,
        }  # fmt: skip
        return ActionsExecutor(**(given | options))


@contextmanager
def actions_place(root: Path, command: Command) -> Iterator[ActionsPlace]:
    """The repository as long as the block lasts; what breaks GitHub's description fails it."""
    with FakeGitHub() as hub:
        hub.add_repo(REPO)
        runner = StepRunner(hub, root, command)
        hub.repo(REPO).workflows[WORKFLOW] = runner
        try:
            yield ActionsPlace(hub, runner)
        finally:
            runner.close()


@contextmanager
def actions_executor(root: Path, command: Command) -> Iterator[Executor]:
    """For the contract of executors."""
    with actions_place(root, command) as place:
        yield OnGpus(place.executor(root))
