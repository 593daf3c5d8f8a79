"""Picks the implementations; the only place that knows them all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lora_ci.app.anew import Anew, AnewRecords
from lora_ci.app.live import Live
from lora_ci.app.records import FORGE, STATE, kept_records, ledger_url, open_store
from lora_ci.app.source import Source
from lora_ci.core.clock import Clock, SystemClock
from lora_ci.core.errors import InfrastructureError, UsageError
from lora_ci.core.finding import Finding
from lora_ci.core.plan import Record
from lora_ci.core.step import Stage
from lora_ci.execution.drive import Driver
from lora_ci.execution.executor import INLINE, LOCAL, Executor, Watch
from lora_ci.execution.inline import InlineExecutor
from lora_ci.execution.lead import Leadership, lease_of
from lora_ci.execution.local import LocalExecutor
from lora_ci.execution.this_machine import ThisMachine, look_here
from lora_ci.execution.tick import Policy, Reconciler
from lora_ci.execution.turns import Anywhere
from lora_ci.forge.forge import Forge, Host
from lora_ci.forge.github.action_executor import PREFIX as JOBS
from lora_ci.forge.local import LocalForge
from lora_ci.ledger.git_records import GitRecords
from lora_ci.ledger.ledger import Ledger, open_ledger
from lora_ci.ledger.snapshot import Snapshot
from lora_ci.plan.records import Records
from lora_ci.store.layered import Remote
from lora_ci.store.store import ArtifactStore

# Steps at a time that a cluster is given, which has a queue of its own.
ON_A_CLUSTER = 16
# What a cancelled job of a workflow has to save and to hand on what it has.
UPLOADED_S = 330.0


class Share(Protocol):
    """Gives records to those who share them; tells what kept it from that."""

    def __call__(self, records: Iterable[Record], *, kept_in: str | None) -> tuple[Finding, ...]:
        """`kept_in` names what carries the records' artifacts to other machines."""
        ...


@dataclass(frozen=True, slots=True)
class Bundle:
    """The folder that carries a run's part to the job that reports, and the artifact it becomes.

    `whole` is the stage of which it carries what was reused as well.
    """

    folder: Path
    name: str | None
    whole: Stage | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deps:
    """What the flow works with.

    `shared` are the records of other machines, `share` gives them ours; with a `bundle`, that is
    left to the job that reports. With `buttons`, checks have some: a bot is there to hear them.
    `room` is how many steps may run at a time; None: what the executor's machines have room for.
    `quota` is how many GPUs the steps of one repository may have; None: no limit. `terms` say all
    of that to others who share the ledger.
    """

    source: Source
    ledger: Ledger
    store: ArtifactStore
    executor: Executor
    forge: Forge
    clock: Clock
    state: Path
    live: Live
    signing_key: Path | None
    room: int | None = None
    quota: int | None = None
    terms: Mapping[str, str] = field(default_factory=dict)
    shared: tuple[GitRecords, ...] = ()
    share: Share | None = None
    anew: Anew | None = None
    bundle: Bundle | None = None
    buttons: bool = False
    host: Host | None = None

    @property
    def records(self) -> Records:
        """What may be reused, as it is now."""
        kept = kept_records((Snapshot(self.ledger), *self.shared), self.store)
        return AnewRecords(kept, self.anew) if self.anew else kept

    def driver(self, run_id: str) -> Driver:
        """What moves the steps of a run on; where they outlive it, those of other runs too."""
        # A job on a repository's runners is about what its run was asked.
        name = self.executor.name
        jobs, inline = name.startswith(JOBS), name == INLINE
        alone = jobs or inline
        reconciler = Reconciler(
            ledger=self.ledger,
            executor=self.executor,
            store=self.store,
            clock=self.clock,
            run_id=run_id if alone else None,
            policy=Policy(grace_s=UPLOADED_S) if jobs else Policy(),
            placement=self._here() if name == LOCAL else Anywhere(),
            room=self.room if name == LOCAL else self.room or (1 if inline else ON_A_CLUSTER),
            quota=self.quota,
        )
        queue = self.ledger.queue
        lead = (
            None
            if alone
            else Leadership(queue=queue, clock=self.clock, name=lease_of(name), terms=self.terms)
        )
        return Driver(reconciler=reconciler, clock=self.clock, watch=self.live, lead=lead)

    def _here(self) -> ThisMachine:
        """The GPUs of this machine, as a place for steps."""
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        return ThisMachine(
            runners=self.ledger.runners,
            clock=self.clock,
            look=lambda: look_here(visible),
            without_gpu=self.room or 1,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where things are kept; what is None is in the state folder of the source.

    A `ledger` may be that of several repositories: `repo` is whose records are asked for, if not
    all.
    """

    state: Path | None = None
    cache: Path | None = None
    ledger: str | None = None
    repo: str | None = None
    objects: Path | None = None
    remotes: tuple[Remote, ...] = ()


def open_deps(
    source: Source,
    *,
    places: Places = Places(),
    watch: Watch = lambda *_: None,
    executor: str = "inline",
    named: tuple[str, ...] = (),
    room: int | None = None,
    quota: int | None = None,
    forge: Forge | None = None,
    signing_key: Path | None = None,
) -> Deps:
    """Everything for a source; results are shown in a folder, if no forge is given."""
    state = places.state or source.root / STATE
    ensure_state(state)
    clock, live = SystemClock(), Live(watch)
    objects = places.objects or state / "objects"
    ensure_folder(objects)
    store, cache = open_store(objects, places.remotes), places.cache or state / "cache"
    return Deps(
        source=source,
        ledger=open_ledger(places.ledger or ledger_url(state), clock, repo=places.repo),
        store=store,
        executor=open_executor(
            executor, store, objects=objects, cache=cache, watch=live, named=named
        ),
        forge=forge or LocalForge(state / FORGE),
        clock=clock,
        state=state,
        live=live,
        signing_key=signing_key,
        room=room,
        quota=quota,
        terms={
            "--executor": executor,
            "--parallel": str(room or ""),
            "--quota": str(quota or ""),
            "--pass-env": " ".join(sorted(set(named))),
            "--store": str(objects.absolute()),
            "--cache": str(cache.absolute()),
        },
    )


def open_executor(
    where: str,
    store: ArtifactStore,
    *,
    objects: Path,
    cache: Path,
    watch: Watch,
    named: tuple[str, ...],
) -> Executor:
    """The executor that is called `inline`, `local`, `ray=URL` or `slurm[=PARTITION]`.

    Raises UsageError for another name.
    """
    kind, _, place = where.partition("=")
    match kind:
        case "inline":
            return InlineExecutor(store, cache, watch)
        case "local":
            return LocalExecutor(objects, cache, named=named)
        case "ray":
            from lora_ci.execution.ray import RayExecutor

            token = os.environ.get("RAY_AUTH_TOKEN", "")
            return RayExecutor(address=place, store=objects, cache=cache, named=named, token=token)
        case "slurm":
            from lora_ci.execution.slurm import SlurmExecutor

            return SlurmExecutor(objects, cache, place, named=named)
        case _:
            hint = (
                "next: inline, local, ray=URL or slurm; `actions` is for `lora-ci run` and `sweep`"
            )
            raise UsageError(f"no executor is called {where!r} here", hint=hint)


def ensure_folder(objects: Path) -> None:
    """The store's folder: that it cannot be used is told before hours of training."""
    try:
        objects.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"the store {objects} cannot be used: {error.strerror}"
        raise InfrastructureError(message, hint=f"next: ls -ld {objects.parent}") from error


def ensure_state(state: Path) -> None:
    """The state folder, which git leaves alone."""
    state.mkdir(parents=True, exist_ok=True)
    ignore = state / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
