"""Runs each attempt as a batch job of a SLURM cluster.

SLURM's own commands are called, as their output is the same from version to version. Sources:
sbatch(1), squeue(1), scancel(1).
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import shlex
import subprocess
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lora_ci.core.errors import InfrastructureError
from lora_ci.execution.environment import passed_on
from lora_ci.execution.executor import Attempt, ExecutorAwayError, Phase
from lora_ci.execution.local import ATTEMPTS, MARK, Command, exec_step_command
from lora_ci.execution.processes import kill_marked

LOG = logging.getLogger("lora_ci.execution")

# A controller that is not there is looked for by SLURM's commands for about 10 s.
COMMAND_S = 60.0
# So long after one such failure no other command is tried.
AWAY_S = 10.0
# The reconciler ends what takes too long. SLURM does later, in case there is no reconciler then.
SPARE_S = 600.0
# A step that SLURM is about to end has so long to save what it has.
SAVE_S = 120
WAITING = ("PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD")
# Why a job may wait for ever: somebody has to change something. Source: squeue(1), reason codes.
STUCK = (
    *("AccountNotAllowed", "BadConstraints", "DependencyNeverSatisfied", "InvalidAccount"),
    *("InvalidQOS", "JobHeldAdmin", "JobHeldUser", "PartitionInactive", "PartitionNodeLimit"),
    *("PartitionTimeLimit", "QOSNotAllowed"),
)
# Number, state, reason, name: what comes last may hold anything. Source: squeue(1).
FORMAT = "%i|%T|%r|%j"
# What SLURM's commands themselves read of our environment.
CLIENT = ("SLURM_CONF", "SLURM_CLUSTERS")
LIMIT = "SBATCH_TIMELIMIT"
# Of the machine that submits; a job is told its own.
DEVICES = (
    *("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"),
    *("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES"),
)
# Only the first job of an attempt gets to its command. It becomes it: SLURM's signals are for the
# step then.
SCRIPT = """\
#!/bin/sh
[ -e {begun} ] && exit 0
set -C
echo "$SLURM_JOB_ID" > {begun} || exit 1
exec {command}
"""


@dataclass(frozen=True, slots=True)
class _Job:
    id: int
    state: str
    reason: str
    name: str

    @classmethod
    def of(cls, line: str) -> _Job:
        """The job of a line of FORMAT. Raises ValueError for another one."""
        number, state, reason, name = line.split("|", 3)
        return cls(int(number), state, reason, name)

    @property
    def phase(self) -> Phase:
        return Phase.QUEUED if self.state in WAITING else Phase.RUNNING

    @property
    def is_stuck(self) -> bool:
        return self.phase is Phase.QUEUED and self.reason in STUCK


@dataclass(slots=True)
class SlurmExecutor:
    """Batch jobs of the user that we are. The handle is the job's name.

    `options` are given to `sbatch` after ours, so they win; what the environment says
    (`SBATCH_ACCOUNT=…`) is heeded as by `sbatch` itself. `named` are variables of our environment
    that attempts get too. The queue is looked at every `every_s`, and `lag_s` is how late a file
    from another machine may appear: by default that of an NFS with its own defaults.
    """

    store: Path
    cache: Path
    partition: str = ""
    options: tuple[str, ...] = ()
    command: Command = exec_step_command
    named: tuple[str, ...] = ()
    every_s: float = 2.0
    lag_s: float = 60.0
    _asked: frozenset[str] = field(default=frozenset(), init=False)
    _phases: dict[str, Phase] = field(default_factory=dict, init=False)
    _looked_at: float = field(default=-math.inf, init=False)
    _away: str = field(default="", init=False)
    _away_until: float = field(default=-math.inf, init=False)
    _told: frozenset[str] = field(default=frozenset(), init=False)

    name = "slurm"

    def submit(self, attempt: Attempt) -> str:
        name = _job_name(attempt)
        begun = attempt.folder.path.absolute() / ATTEMPTS / attempt.key
        begun.parent.mkdir(parents=True, exist_ok=True)
        if begun.exists():
            return name
        command = self.command(attempt.folder, self.store, self.cache)
        script = SCRIPT.format(begun=shlex.quote(str(begun)), command=shlex.join(command))
        options = self._options(attempt)
        refused = self._ask(
            ["sbatch", "--parsable", *_own_options(attempt, name), *options],
            script=script,
            environment={**self._environment(), MARK: name},
        )[1]
        jobs = sorted(self._jobs(f"--name={name}"), key=lambda job: job.id)
        if not jobs and refused:
            raise InfrastructureError(
                f"SLURM takes no job: {refused}",
                rule="slurm.refused",
                hint=f"next: sbatch --test-only {shlex.join(options)} --wrap true; sinfo",
            )
        # Another process may have submitted it as well: all but the oldest wait for that one.
        if twins := [str(job.id) for job in jobs[1:]]:
            self._ask(["scancel", "--state=PENDING", _ours(), f"--name={name}", *twins])
        return name

    def phases(self, handles: Collection[str]) -> Mapping[str, Phase]:
        asked, now = frozenset(handles), time.monotonic()
        if asked and (now - self._looked_at > self.every_s or not asked <= self._asked):
            jobs = [job for job in self._jobs() if job.name in asked]
            self._phases = {}
            for job in jobs:
                if self._phases.get(job.name) is not Phase.RUNNING:
                    self._phases[job.name] = job.phase
            self._looked_at, self._asked = now, asked
            self._tell_stuck(jobs)
        return {handle: self._phases.get(handle, Phase.ENDED) for handle in asked}

    def cancel(self, handle: str, *, hard: bool) -> None:
        which = [_ours(), f"--name={handle}"]
        if hard:
            # The first kills the step at once, where SLURM alone would give it time once more.
            killed = self._ask(["scancel", "--signal=KILL", "--batch", *which])[1]
            refused = self._ask(["scancel", *which])[1] or killed
        else:
            # In this order: one that begins in between is asked as one that runs.
            waiting = self._ask(["scancel", "--state=PENDING", *which])[1]
            refused = self._ask(["scancel", "--signal=TERM", "--batch", *which])[1] or waiting
        # What has ended meanwhile cannot be signalled, and need not be.
        if refused and self._jobs(f"--name={handle}"):
            raise InfrastructureError(f"SLURM does not end {handle}: {refused}")

    def clear(self, handle: str) -> None:
        """Ends what a job left running here, on a cluster of one machine.

        On others SLURM does, by its own means (`ProctrackType=proctrack/cgroup`).
        """
        kill_marked(f"{MARK}={handle}")

    def _options(self, attempt: Attempt) -> list[str]:
        """What decides whether SLURM takes the job and where it runs."""
        resources, place = attempt.spec.resources, attempt.place
        options = [f"--nodes={resources.nodes}"]
        if resources.gpus:
            options.append(f"--gres=gpu:{resources.gpus}")
        if LIMIT not in os.environ:
            options.append(f"--time={math.ceil((resources.timeout_s + SPARE_S) / 60)}")
        if self.partition:
            options.append(f"--partition={self.partition}")
        if place.node:
            options.append(f"--nodelist={place.node}")
        return [*options, *self.options]

    def _jobs(self, *filters: str) -> list[_Job]:
        """Our jobs that have not ended. Raises ExecutorAwayError where SLURM does not say."""
        shown = ["--noheader", "--all", f"--format={FORMAT}"]
        text, refused = self._ask(["squeue", *shown, _ours(), *filters])
        try:
            if not refused:
                return [_Job.of(line) for line in text.splitlines()]
            self._away = refused
        except ValueError:
            self._away = f"squeue says what cannot be read: {text[:200]!r}"
        self._away_until = time.monotonic() + AWAY_S
        raise _away(self._away)

    def _ask(
        self, command: list[str], *, script: str = "", environment: dict[str, str] | None = None
    ) -> tuple[str, str]:
        """What a command of SLURM says, and why it refused; that is empty if it did not.

        Raises:
            ExecutorAwayError: SLURM does not answer, or did not lately.
            InfrastructureError: its commands are not on this machine.
        """
        if time.monotonic() < self._away_until:
            raise _away(self._away)
        try:
            ended = subprocess.run(
                command,
                input=script,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=COMMAND_S,
                env=environment or self._environment(),
                # A Ctrl-C is for us: what was begun is done.
                start_new_session=True,
                check=False,
            )
        except FileNotFoundError as error:
            raise InfrastructureError(
                f"`{command[0]}` is not on this machine",
                rule="slurm.not-installed",
                hint="next: run lora-ci where SLURM's commands are (Debian: slurm-client)",
            ) from error
        except subprocess.TimeoutExpired as error:
            raise _away(f"{command[0]} said nothing for {COMMAND_S:.0f} s") from error
        if ended.returncode == 0:
            return ended.stdout, ""
        words = ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"]
        return ended.stdout, words[-1].removeprefix(f"{command[0]}: error: ")

    def _environment(self) -> dict[str, str]:
        """What `sbatch` gets, and with it the job; `SBATCH_…` are a user's own defaults."""
        own = {n: v for n, v in os.environ.items() if n in CLIENT or n.startswith("SBATCH_")}
        kept = {**passed_on(os.environ, self.named), **own}
        return {name: value for name, value in kept.items() if name not in DEVICES}

    def _tell_stuck(self, jobs: list[_Job]) -> None:
        """Warns once of each reason for which jobs wait for ever."""
        stuck = {job.reason: job.id for job in jobs if job.is_stuck}
        for why, number in stuck.items():
            if why not in self._told:
                LOG.warning("slurm.stuck job=%d why=%s next: squeue -j %d", number, why, number)
        self._told = frozenset(stuck)


def _own_options(attempt: Attempt, name: str) -> list[str]:
    """What makes a job an attempt."""
    # In a path `%` would stand for something else. Source: sbatch(1), filename pattern.
    log = str(attempt.folder.log.absolute()).replace("%", "%%")
    return [
        f"--job-name={name}",
        "--dependency=singleton",
        f"--output={log}",
        "--open-mode=append",
        # All that we give it: a list of names would add what the user's login shell sets.
        "--export=ALL",
        "--no-requeue",
        f"--signal=B:TERM@{SAVE_S}",
    ]


def _job_name(attempt: Attempt) -> str:
    """The key, made unique in the cluster: ledgers of other repositories have it too."""
    folder = hashlib.sha256(os.fsencode(attempt.folder.path.absolute())).hexdigest()
    return f"lora-ci-{folder[:16]}-{attempt.key}"


def _ours() -> str:
    return f"--user={os.getuid()}"


def _away(why: str) -> ExecutorAwayError:
    return ExecutorAwayError(f"SLURM does not answer: {why}", hint="next: scontrol ping")
