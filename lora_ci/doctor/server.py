"""Checks of a machine that runs `lora-ci serve`: its databases, its queue of steps, its cluster."""

from __future__ import annotations

import fcntl
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec

from lora_ci.core.clock import Clock
from lora_ci.core.errors import LoraCIError
from lora_ci.doctor.checked import Check, Checked, error, ok, skipped, warning
from lora_ci.doctor.machine import Machine
from lora_ci.doctor.tools import check_disk, check_state
from lora_ci.execution.executor import LOCAL, Phase
from lora_ci.execution.lead import BEAT_S, is_gone, lease_of
from lora_ci.execution.local import LocalExecutor
from lora_ci.ledger.checking import Checks, OpenStep
from lora_ci.ledger.database import Database
from lora_ci.ledger.engine import READS, bare_engine, schema_version
from lora_ci.ledger.queue import Queue, StepState
from lora_ci.ledger.tables import SCHEMA_VERSION
from lora_ci.report.figures import counted

# A leader renews its lease within this time, seconds; below the limit of a check.
WATCHED_S = 2 * BEAT_S
POLL_S = 0.2
UPGRADE = "next: pip install --upgrade lora-ci"


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What the server is to be: as the options of `lora-ci serve` say."""

    state: Path
    executor: str = "inline"
    ledger_url: str | None = None

    @property
    def queue(self) -> str | None:
        """Where its queue of steps is; None where runs do their steps themselves."""
        file = self.state / "steps.db"
        if self.ledger_url is None and self.executor == "inline" and not file.is_file():
            return None
        return self.ledger_url or f"sqlite:///{file}"

    @property
    def lease(self) -> str | None:
        """The lease of whoever moves those steps on; None where each run moves its own."""
        kind = self.executor.partition("=")[0]
        return None if kind == "actions" else lease_of(LOCAL if kind == "inline" else kind)


def server_checks(machine: Machine, serving: Serving, clock: Clock) -> dict[str, Check]:
    """The checks by name, in the order they are told."""
    state, inbox = serving.state, f"sqlite:///{serving.state / 'ledger.db'}"
    return {
        "disk": partial(check_disk, machine, state),
        "state": partial(check_state, machine, state),
        "server": partial(check_running, state),
        "inbox": partial(check_ledger, inbox, clock),
        "ledger": partial(check_ledger, serving.queue, clock),
        "lead": partial(check_lead, serving.queue, serving.lease, clock),
        "steps": partial(check_steps, serving.queue, clock),
        "executor": partial(check_executor, machine, serving.executor),
    }


def check_running(state: Path) -> Checked:
    """A server works in the folder."""
    try:
        with (state / "server.lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return skipped(f"no server has worked in {state} yet")
    except BlockingIOError:
        return ok(f"a server works in {state}")
    return warning(f"no server works in {state} now", "next: lora-ci serve, or its supervisor")


def check_ledger(url: str | None, clock: Clock) -> Checked:
    """A database can be read, and has the schema that this version knows."""
    if url is None:
        return skipped("runs do their steps themselves (no --executor)")
    database, version = _opened(url, clock)
    if version is None:
        return skipped(f"{_shown(url)} is made when the server first starts")
    try:
        if database is None:
            if version > SCHEMA_VERSION:
                return error(f"{_shown(url)} has schema {version}, from a newer lora-ci", UPGRADE)
            found = f"{_shown(url)} has schema {version}, from an older lora-ci"
            return warning(found, "the server brings it up to date when it starts: back it up")
        return ok(f"{_shown(url)} has schema {version}")
    finally:
        if database:
            database.close()


def check_lead(url: str | None, lease: str | None, clock: Clock) -> Checked:
    """A process that lives leads, if anything is to be moved on."""
    if lease is None:
        return skipped("each run waits for its own jobs")
    database = _opened(url, clock)[0] if url else None
    if database is None:
        return skipped("no queue of steps")
    try:
        queue, steps = Queue(database), Checks(database).open_steps()
        waiting = counted(len(steps), "step")
        seen = queue.lease(lease)
        if seen is None:
            if not steps:
                return ok("nothing is to be done, and nobody leads")
            return warning(
                f"{waiting} to move on, and nobody leads",
                "a run of the server takes the lead; next: is a server running (line `server`)?",
            )
        holder = seen[0].rpartition(":")[0]
        if is_gone(seen[0]):
            fix = "the next run takes it at once; next: is a server running (line `server`)?"
            return warning(f"{holder} had the lead and is gone; {waiting} to move on", fix)
        until = clock.monotonic() + WATCHED_S
        while clock.monotonic() < until:
            if queue.lease(lease) != seen:
                return ok(f"{holder} leads; {waiting} to move on")
            clock.sleep(POLL_S)
        fix = f"next: look at that process on that machine; after {WATCHED_S:.0f} s more "
        return warning(f"{holder} leads, but says nothing", f"{fix}another run takes the lead")
    finally:
        database.close()


def check_steps(url: str | None, clock: Clock) -> Checked:
    """No step is left by a run that nobody moves on, and none is said to run that does not."""
    database = _opened(url, clock)[0] if url else None
    if database is None:
        return skipped("no queue of steps")
    try:
        steps = Checks(database).open_steps()
    finally:
        database.close()
    states = Counter(step.state for step in steps)
    running, waiting = states[StepState.RUNNING], states[StepState.WAITING]
    found = f"{counted(running, 'step')} running, {waiting} waiting"
    fix = "next: lora-ci ledger check --repair; then start the runs again"
    left = [step for step in steps if step.owner is not None and is_gone(step.owner)]
    if left:
        runs = ", ".join(dict.fromkeys(step.run_id for step in left[:3]))
        return warning(f"{found}; {len(left)} are of runs that nobody moves on ({runs})", fix)
    lost = [step for step in steps if _is_lost(step)] if _is_file(url or "") else []
    if lost:
        one = lost[0]
        told = f"{found}; the process of {one.stage} of {one.lora} is gone"
        return warning(told, "the leader ends it in seconds; next: is there one (line `lead`)?")
    return ok(found)


def _is_file(url: str) -> bool:
    """True for a database that no other machine works with."""
    return url.startswith("sqlite:")


def _is_lost(step: OpenStep) -> bool:
    """True where all attempts were processes of this machine and none of them lives."""
    handles = [a.handle for a in step.attempts if a.executor == LocalExecutor.name and a.handle]
    if not handles or len(handles) < len(step.attempts):
        return False
    phases: Mapping[str, Phase] = LocalExecutor(Path(), Path()).phases(handles)
    return all(phase is Phase.ENDED for phase in phases.values())


def check_executor(machine: Machine, where: str) -> Checked:
    """What is to run the steps answers."""
    kind, _, place = where.partition("=")
    match kind:
        case "ray":
            return _check_ray(machine, place)
        case "slurm":
            return _check_slurm(machine, place)
        case "actions":
            return ok("actions: on the runners of each repository")
        case _:
            return ok(f"{kind}: on this machine")


class _RayVersion(msgspec.Struct):
    ray_version: str


def _check_ray(machine: Machine, url: str) -> Checked:
    answer = machine.ask("GET", f"{url.rstrip('/')}/api/version", {})
    if answer.status in (401, 403):
        return error(f"{url} asks for a token ({answer.status})", "next: export RAY_AUTH_TOKEN=…")
    try:
        found = msgspec.json.decode(answer.body, type=_RayVersion)
    except msgspec.DecodeError:
        fix = f"next: ray start --head; curl {url}/api/version"
        return error(f"{url} is no dashboard of Ray ({answer.status})", fix)
    return ok(f"Ray {found.ray_version} at {url}")


def _check_slurm(machine: Machine, partition: str) -> Checked:
    options = [f"--partition={partition}"] if partition else []
    ran = machine.run("sinfo", "--noheader", "--format=%P %a %D %T", *options)
    if ran is None:
        return error("SLURM's commands are not installed", "next: apt install slurm-client")
    lines = ran.out.strip().splitlines()
    if ran.code != 0:
        words = (ran.err.strip() or ran.out.strip() or "it failed without a word").splitlines()[0]
        return error(f"sinfo: {words[:200]}", "next: sinfo; systemctl status slurmctld munge")
    if not lines:
        return error(f"there is no partition {partition!r}", "next: sinfo --format=%P")
    found = f"SLURM: {'; '.join(lines[:4])}"
    if not any(line.split()[1:2] == ["up"] for line in lines):
        return error(found, "next: scontrol update partition=NAME state=up")
    return ok(found)


def _opened(url: str, clock: Clock) -> tuple[Database | None, str | None]:
    """The database if it has our schema, and the version of the schema that it has.

    Makes no file, and changes no schema. Raises LoraCIError where it cannot be read.
    """
    path = url.removeprefix("sqlite:///")
    if path != url and not Path(path).is_file():
        return None, None
    engine = bare_engine(url)
    try:
        with engine.execution_options(**{READS: True}).connect() as connection:
            version = schema_version(connection)
    except LoraCIError:
        engine.dispose()
        raise
    if version != SCHEMA_VERSION:
        engine.dispose()
        return None, version
    return Database(engine, clock), version


def _shown(url: str) -> str:
    """The address without a password."""
    if url.startswith("sqlite:///"):
        return url.removeprefix("sqlite:///")
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
