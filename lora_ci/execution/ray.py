"""Runs each attempt as a job of a Ray cluster, asked for over HTTP: Ray itself is not needed here.

Ray is believed in what it does not forget; the folder, which both sides see, has the last word.
`attempts/<key>` in it says that the attempt has begun or never will: so it begins once at most,
even where Ray forgot it and is asked again, and one that still waits can be ended.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import shlex
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from lora_ci.core.clock import Clock, SystemClock
from lora_ci.core.errors import InfrastructureError
from lora_ci.execution.executor import Attempt, Phase
from lora_ci.execution.local import ATTEMPTS, Command, exec_step_command
from lora_ci.execution.node import NEVER, ask_for_end, claim, is_never
from lora_ci.execution.ray_jobs import Job, RayJobs
from lora_ci.execution.ray_machines import Wanted
from lora_ci.steps.folder import StepFolder

LOG = logging.getLogger("lora_ci.execution")

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
# Ray gives up jobs that have waited for RAY_JOB_START_TIMEOUT_SECONDS, 15 minutes by default.
GIVEN_UP = "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"
# Ray is asked for its jobs so seldom, and has that many times what it took to tell them for itself.
LIST_S = 0.25
LIST_SHARE = 10
# Ray is asked for its nodes so seldom, while something waits.
NODES_S = 30.0
# What says nothing about why a job failed, in the message and the log that Ray has of it. Where
# nothing else is left, the step's own log has it.
RAYS_OWN = re.compile(r"INFO job_manager|^Running entrypoint for|^Job entrypoint command failed")
NODE_ID = "ray.io/node-id"
NOTE = "lora-ci"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Note:
    """What we want to know of a job later, kept in its metadata.

    A job of several `nodes` holds them from wherever it runs, and needs no GPU there.
    """

    folder: str
    key: str
    gpus: int
    labels: Mapping[str, str]
    nodes: int = 1

    @property
    def job(self) -> str:
        """The id of the job. Keys are `step-<id>-<n>`: every ledger has a `step-1-1`."""
        whose = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:16]
        return f"lora-ci-{whose}-{self.key}"

    @property
    def begun(self) -> Path:
        """The file that says that the attempt has begun, or never will."""
        return Path(self.folder) / ATTEMPTS / self.key


@dataclass(slots=True)
class RayExecutor:
    """Jobs of the cluster whose dashboard is at `address`. The handle is the job's submission id.

    The folders of steps, `store` and `cache` lie under the same paths on every node, and so does
    `python` with lora-ci. An attempt has the environment of its node: `named` are variables of that
    which it gets too. Ray sets aside `cpus` cores and the GPUs that the step asks for, on nodes
    with these `labels`; what is asked to end has `stop_wait_s` before Ray kills it.
    """

    address: str
    store: Path
    cache: Path
    command: Command = exec_step_command
    named: tuple[str, ...] = ()
    python: str = sys.executable
    cpus: float = 1.0
    labels: Mapping[str, str] = field(default_factory=dict)
    token: str = field(default="", repr=False)
    stop_wait_s: int = 60
    lag_s: float = 10.0
    clock: Clock = field(default_factory=SystemClock)
    jobs: RayJobs = field(init=False)
    _listed: Mapping[str | None, Job] | None = field(default=None, init=False, repr=False)
    _listed_until: float = field(default=0.0, init=False, repr=False)
    _told: frozenset[tuple[int, int]] = field(default=frozenset(), init=False, repr=False)
    _told_until: float = field(default=-math.inf, init=False, repr=False)

    name = "ray"

    def __post_init__(self) -> None:
        self.jobs = RayJobs(self.address.rstrip("/"), self.clock, self.token)

    def submit(self, attempt: Attempt) -> str:
        folder = attempt.folder.path.absolute()
        place = {NODE_ID: attempt.place.node} if attempt.place.node else {}
        note = _Note(
            folder=str(folder),
            key=attempt.key,
            gpus=attempt.spec.resources.gpus,
            labels={**self.labels, **place},
            nodes=attempt.spec.resources.nodes,
        )
        job = note.job
        self.jobs.submit(self._request(job, self._entrypoint(job, attempt, note), note))
        return job

    def phases(self, handles: Collection[str]) -> Mapping[str, Phase]:
        """How far jobs are. One that Ray has given up, as it waited for long, is handed in again.

        Why Ray could not start one is added to the log in the step's folder.
        """
        if not handles:
            return {}
        listed = self._list(handles)
        found, waiting = {}, []
        for handle in handles:
            # What is missing in the list is asked for: one more look before it is given up.
            job = listed.get(handle) or self.jobs.find(handle)
            found[handle] = self._phase(handle, job) if job else Phase.ENDED
            if job and found[handle] is Phase.QUEUED and (note := _note(handle, job)):
                waiting.append(note)
        self._tell_stuck(waiting)
        return found

    def cancel(self, handle: str, *, hard: bool) -> None:
        job = self.jobs.find(handle)
        if job is None or job.status in ENDED:
            return
        if note := _note(handle, job):
            # Where the folder cannot be written to, Ray's own way has to do.
            with suppress(OSError):
                if not claim(note.begun, f"{NEVER}: cancelled before its turn") and hard:
                    ask_for_end(note.begun)
        self.jobs.stop(handle)

    def clear(self, handle: str) -> None:
        """Has Ray forget the job. What the step left running is ended on its node, by then."""
        self.jobs.forget(handle)

    def _list(self, handles: Collection[str]) -> Mapping[str | None, Job]:
        """The jobs that Ray remembers; looked up again only when that costs it little."""
        before = self.clock.monotonic()
        if self._listed is None or before > self._listed_until:
            self._listed = {job.submission_id: job for job in self.jobs.all()}
            self._forget_left(handles)
            after = self.clock.monotonic()
            self._listed_until = after + max(LIST_S, LIST_SHARE * (after - before))
        return self._listed

    def _forget_left(self, handles: Collection[str]) -> None:
        """Clears what was ended while it waited, and could not be cleared before its turn."""
        for handle, job in (self._listed or {}).items():
            if handle and handle not in handles and job.status in ENDED:
                note = _note(handle, job)
                if note and is_never(note.begun):
                    self.jobs.forget(handle)

    def _tell_stuck(self, waiting: list[_Note]) -> None:
        """Warns once of what the nodes that are there could not give, were they all free."""
        wanted = {(note.nodes, note.gpus): note.job for note in waiting}
        now = self.clock.monotonic()
        if wanted.keys() <= self._told or now < self._told_until:
            return
        self._told_until = now + NODES_S
        try:
            gpus = self.jobs.gpus()
        except InfrastructureError:
            # Who waits does not wait for that.
            return
        for (nodes, each), job in wanted.items():
            if sum(found >= each for found in gpus) < nodes and (nodes, each) not in self._told:
                LOG.warning(
                    "ray.stuck job=%s why=it asks for %d GPUs on each of %d nodes, and there are "
                    "nodes with %s next: ray status; or resources.gpus",
                    *(job, each, nodes, " + ".join(map(str, sorted(gpus))) or "none"),
                )
                self._told |= {(nodes, each)}

    def _phase(self, handle: str, job: Job) -> Phase:
        note = _note(handle, job)
        waits = job.status == "PENDING" or bool(note and note.nodes > 1 and job.status not in ENDED)
        if waits and note and is_never(note.begun):
            return Phase.ENDED
        begun = note is not None and os.path.exists(note.begun)
        if waits and not begun:
            return Phase.QUEUED
        if job.status not in ENDED:
            return Phase.RUNNING
        if note and job.error_type == GIVEN_UP and not begun:
            self.jobs.forget(handle)
            self.jobs.submit(self._request(handle, job.entrypoint, note))
            return Phase.QUEUED
        if note and job.status == "FAILED":
            # Where the folder is gone, the reconciler says so.
            with suppress(OSError):
                _tell_why(note, job)
        return Phase.ENDED

    def _request(self, job: str, entrypoint: str, note: _Note) -> dict[str, Any]:
        alone = note.nodes == 1
        request = {
            "submission_id": job,
            "entrypoint": entrypoint,
            "entrypoint_num_cpus": self.cpus if alone else 0,
            "entrypoint_num_gpus": note.gpus if alone else 0,
            "metadata": {NOTE: json.dumps(msgspec.to_builtins(note))},
            # Read by the job's supervisor: it would kill after 3 s.
            "runtime_env": {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(self.stop_wait_s)}},
        }
        # Older versions refuse what they do not know.
        return request | ({"entrypoint_label_selector": dict(note.labels)} if note.labels else {})

    def _entrypoint(self, job: str, attempt: Attempt, note: _Note) -> str:
        """A line for the node's shell. Values of variables never stand in it."""
        folder = StepFolder(Path(note.folder))
        command = self.command(folder, self.store.absolute(), self.cache.absolute())
        if command[0] == sys.executable:
            command = [self.python, *command[1:]]
        if note.nodes == 1:
            shim = ["lora_ci.execution.node", job, str(note.begun), ",".join(self.named)]
        else:
            wanted = Wanted(
                mark=job,
                begun=str(note.begun),
                named=self.named,
                count=note.nodes,
                gpus=note.gpus,
                cpus=self.cpus,
                labels=note.labels,
            )
            shim = ["lora_ci.execution.ray_machines", msgspec.json.encode(wanted).decode()]
        line = [self.python, "-P", "-m", *shim, *command]
        return f"exec {shlex.join(line)} >> {shlex.quote(str(folder.log))} 2>&1 < /dev/null"


def _note(handle: str, job: Job) -> _Note | None:
    """The note of a job of ours: who else can write there is not to name files to us."""
    try:
        note = msgspec.json.decode((job.metadata or {}).get(NOTE, ""), type=_Note)
    except msgspec.DecodeError:
        return None
    return note if note.job == handle else None


def _tell_why(note: _Note, job: Job) -> None:
    """Adds to the log why Ray could not even begin the attempt."""
    if not claim(note.begun, f"{NEVER}: {job.error_type}"):
        return
    lines = [line for line in (job.message or "").splitlines() if not RAYS_OWN.search(line)]
    if lines:
        with StepFolder(Path(note.folder)).log.open("a") as log:
            log.write("\n".join((f"Ray could not begin {note.key}:", *lines, "")))
