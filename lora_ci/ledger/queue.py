"""Steps on their way: waiting → running → ended. Each transition is one transaction, done once.

A step that is to be made again waits again. One attempt of it is open at a time.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Select,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError as DuplicateKey

from lora_ci.core.errors import InfrastructureError
from lora_ci.core.plan import Decision
from lora_ci.core.step import Outcome, Stage, StepResult, StepSpec
from lora_ci.ledger import tables
from lora_ci.ledger.database import Database, as_text, as_value
from lora_ci.ledger.record_file import KEPT

# A retry never waits longer, whatever clocks say: one that was set back would make it.
MOST_DELAY = timedelta(minutes=10)


class StepState(StrEnum):
    """A step goes forward only; one that is made again waits again."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"


class AttemptState(StrEnum):
    """An attempt goes forward only."""

    OPEN = "open"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """A step of a run that has not ended; `failures` are the attempts that were an error."""

    id: int
    run_id: str
    lora: str
    stage: Stage
    fingerprint: str
    state: StepState
    folder: Path
    attempts: int
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A step that is due, and what it needs. `owner` and `beat` tell whether its run goes on."""

    step: StepRow
    repo: str
    priority: int
    gpus: int
    vram_gib: float
    queued_at: str
    owner: str | None
    beat: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAttempt:
    """An attempt that goes on, as far as the ledger knows.

    `handle` is None until the executor has given one. `stopping` says why it is to end.
    """

    key: str
    step: StepRow
    repo: str
    priority: int
    executor: str
    handle: str | None
    place: Mapping[str, Any]
    gpus: int
    vram_gib: float
    started_at: str
    stopping: str | None
    owner: str | None
    beat: int


class Queue:
    """The steps of all runs; several processes may use one at the same time."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(
        self,
        run_id: str,
        decision: Decision,
        spec: StepSpec,
        *,
        commit: str,
        folder: Path = Path(),
        repo: str = "",
        priority: int = 0,
    ) -> None:
        """Adds a waiting step; a second call for the same stage changes nothing.

        Raises InfrastructureError for a run that the ledger does not have.
        """
        parts = decision.fingerprint.parts if decision.fingerprint else {}
        now = self._db.now()
        values: dict[str, Any] = {
            "run_id": run_id,
            "lora": spec.lora,
            "stage": spec.stage,
            "fingerprint": spec.fingerprint,
            "parts": as_text(parts),
            "git_commit": commit,
            "spec": as_text(spec),
            "state": StepState.WAITING,
            "attempts": 0,
            "folder": str(folder),
            "repo": repo,
            "priority": priority,
            "gpus": spec.resources.gpus * spec.resources.nodes,
            "vram_gib": spec.resources.vram_gib,
            "queued_at": now,
            "due_at": now,
        }
        try:
            with self._db.transaction() as connection:
                connection.execute(insert(tables.step).values(values))
        except DuplicateKey as error:
            table = tables.step.c
            same = (table.run_id == run_id, table.lora == spec.lora, table.stage == spec.stage)
            if not self._db.rows(select(table.id).where(*same)):
                # Also what breaks another rule of the table comes as this error.
                raise InfrastructureError(
                    f"the ledger takes no step of run {run_id}: {error.orig}",
                    hint="next: lora-ci ledger check; the same command begins a run anew",
                ) from error

    # What is to be done

    def unfinished(self, run_id: str) -> tuple[StepRow, ...]:
        """The waiting and running steps of a run, oldest first."""
        table = tables.step.c
        query = (
            select(*STEP)
            .where(table.run_id == run_id, table.state != StepState.ENDED)
            .order_by(table.id)
        )
        return tuple(map(_step, self._db.rows(query)))

    def waiting(self, *, run_id: str | None = None, most: int = 64) -> tuple[Waiting, ...]:
        """Steps that are due, of one run or of all: later stages first, then the oldest.

        `most` of each repository, priority and number of GPUs, so that a flood of one hides nothing
        of another, and who waits for GPUs no step that needs none.
        """
        now = self._db.moment()
        values = {
            "now": now.isoformat(timespec="microseconds"),
            "late": (now + MOST_DELAY).isoformat(timespec="microseconds"),
            "most": most,
        }
        query = WAITING if run_id is None else WAITING_OF
        rows = self._db.rows(query, values if run_id is None else {**values, "of": run_id})
        return tuple(
            Waiting(
                step=_step(row),
                repo=row["repo"],
                priority=row["priority"],
                gpus=row["gpus"],
                vram_gib=row["vram_gib"],
                queued_at=row["queued_at"],
                owner=row["owner"],
                beat=row["beat"],
            )
            for row in rows
        )

    def open_attempts(self) -> tuple[OpenAttempt, ...]:
        """The attempts that go on, oldest first."""
        return tuple(map(_attempt, self._db.rows(OPEN_ATTEMPTS)))

    def specs(self, steps: Iterable[StepRow]) -> dict[int, StepSpec | InfrastructureError]:
        """What steps are to do, by their ids; the error for one that this version cannot read."""
        rows = self._db.rows(SPECS, {"of": [step.id for step in steps]})
        return {row["id"]: _spec(row["spec"]) for row in rows}

    def result(self, run_id: str, lora: str, stage: Stage) -> StepResult | None:
        """What a step of a run came to."""
        table = tables.step.c
        query = select(table.result).where(
            table.run_id == run_id, table.lora == lora, table.stage == stage
        )
        rows = self._db.rows(query)
        text = rows[0]["result"] if rows else None
        return as_value(text, StepResult) if text else None

    # Transitions

    def begin(
        self, steps: Sequence[tuple[StepRow, Mapping[str, Any]]], *, executor: str
    ) -> tuple[str | None, ...]:
        """waiting → running for steps at their places, each with a new attempt, in one transaction.

        The keys of the attempts, None where another process was first.

        Work that is under way in another run is not begun a second time at the same executor. At
        another it may be: the folder lets one in, and who comes second finds its result.
        """
        now = self._db.now()
        keys: list[str | None] = []
        with self._db.transaction() as connection:
            # All that it waits for comes first and in order, so that no two wait for each other.
            for work in sorted({step.fingerprint for step, _ in steps}):
                self._db.alone(connection, work)
            free = self._free(connection, [step.id for step, _ in steps])
            for step, place in steps:
                begun = {"of": step.id, "tried": step.attempts, "work": step.fingerprint}
                if step.id not in free or (
                    connection.execute(BEGIN, {**begun, "at": executor}).rowcount != 1
                ):
                    keys.append(None)
                    continue
                # A ledger that began anew counts from 1 again, beside the folders it had before.
                key = f"step-{step.id}-{step.attempts + 1}-{secrets.token_hex(4)}"
                values = {
                    "key": key,
                    "step_id": step.id,
                    "executor": executor,
                    "place": as_text(dict(place)),
                    "state": AttemptState.OPEN,
                    "started_at": now,
                }
                connection.execute(OPEN, values)
                keys.append(key)
        return tuple(keys)

    def _free(self, connection: Connection, ids: Sequence[int]) -> Collection[int]:
        """The steps of these that nobody else has in hand, which are locked.

        SQLite has one writer at a time: all of them.
        """
        if self._db.dialect != "postgresql":
            return ids
        return set(connection.scalars(FREE, {"of": list(ids)}))

    def note_handles(self, handles: Mapping[str, str]) -> None:
        """Keeps what the executor calls attempts (by key), so that another process can adopt them.

        In one transaction.
        """
        with self._db.transaction() as connection:
            for key, handle in handles.items():
                connection.execute(HANDLE, {"of": key, "called": handle})

    def again(
        self,
        attempt: OpenAttempt,
        outcome: Outcome,
        *,
        delay_s: float,
        log: str | None = None,
        idle_s: float = 0.0,
    ) -> bool:
        """running → waiting: the attempt is over, another one is to be made. Once.

        A step that is to be stopped ends instead, as interrupted. `idle_s` is how long nothing of
        the attempt had lived when that was seen: it used no GPU since.
        """
        counted = 1 if outcome is Outcome.ERROR else 0
        table = tables.step.c
        with self._db.transaction() as connection:
            if not self._close(connection, attempt, outcome, log, idle_s):
                return False
            # A run that was stopped since we looked has no other one made.
            moved = connection.execute(
                update(tables.step)
                .where(
                    table.id == attempt.step.id,
                    table.state == StepState.RUNNING,
                    table.stopping.is_(None),
                )
                .values(
                    state=StepState.WAITING,
                    failures=table.failures + counted,
                    due_at=self._db.now(delay_s),
                )
            )
            if moved.rowcount == 0:
                stopped = StepResult(outcome=Outcome.INTERRUPTED)
                return self._end(connection, attempt.step, StepState.RUNNING, stopped)
        return True

    def finish(
        self,
        attempt: OpenAttempt,
        result: StepResult,
        *,
        log: str | None = None,
        idle_s: float = 0.0,
    ) -> bool:
        """running → ended; a result that stands under its fingerprint becomes a record with it.

        `idle_s` as for `again`.
        """
        with self._db.transaction() as connection:
            if not self._close(connection, attempt, result.outcome, log, idle_s):
                return False
            return self._end(connection, attempt.step, StepState.RUNNING, result)

    def settle(self, step: StepRow, result: StepResult) -> bool:
        """waiting → ended, with a result that needs no attempt."""
        with self._db.transaction() as connection:
            return self._end(connection, step, StepState.WAITING, result)

    def stop(self, run_id: str, why: str) -> None:
        """Ends the waiting steps of a run as interrupted; its running ones are to be ended."""
        table = tables.step.c
        interrupted = as_text(StepResult(outcome=Outcome.INTERRUPTED))
        waits = table.state == StepState.WAITING
        # One statement: between two, a step that runs could come to wait, and be found by neither.
        with self._db.transaction() as connection:
            connection.execute(
                update(tables.step)
                .where(table.run_id == run_id, table.state != StepState.ENDED)
                .values(
                    stopping=func.coalesce(table.stopping, why),
                    state=case((waits, StepState.ENDED), else_=table.state),
                    result=case((waits, interrupted), else_=table.result),
                    ended_at=case((waits, self._db.now()), else_=table.ended_at),
                )
            )

    def _end(
        self, connection: Connection, step: StepRow, expected: StepState, result: StepResult
    ) -> bool:
        # Before the step is touched, as in `begin`: who waits for the other is always the same.
        self._db.alone(connection, step.fingerprint)
        text, now = as_text(result), self._db.now()
        ended = {"of": step.id, "from": expected, "came_to": text, "at": now}
        moved = connection.execute(END, ended)
        if moved.rowcount != 1:
            return False
        if result.outcome in KEPT:
            # In place of an older one.
            connection.execute(FORGET, {"under": step.fingerprint})
            kept = {"of": step.id, "came_to": text, "as": result.outcome, "at": now}
            connection.execute(RECORD, kept)
        return True

    def _close(
        self,
        connection: Connection,
        attempt: OpenAttempt,
        outcome: Outcome,
        log: str | None,
        idle_s: float,
    ) -> bool:
        """Ends the attempt and counts what it used; False if another process was first."""
        now = self._db.moment()
        took_s = (now - datetime.fromisoformat(attempt.started_at)).total_seconds()
        # A clock that was set back makes no time of less than nothing.
        gpu_s = max(0.0, took_s - idle_s) * attempt.gpus
        ended = {
            "of": attempt.key,
            "came_to": outcome,
            "at": now.isoformat(timespec="microseconds"),
            "used": gpu_s,
            "log": log,
        }
        moved = connection.execute(CLOSE, ended)
        if moved.rowcount != 1:
            return False
        if gpu_s:
            self._use(connection, attempt.repo, now.date().isoformat(), gpu_s)
        return True

    def _use(self, connection: Connection, repo: str, day: str, gpu_s: float) -> None:
        added = connection.execute(USE, {"who": repo, "when": day, "used": gpu_s})
        if added.rowcount == 0:
            try:
                with connection.begin_nested():
                    connection.execute(FIRST_USE, {"repo": repo, "day": day, "gpu_s": gpu_s})
            except DuplicateKey:
                self._use(connection, repo, day, gpu_s)

    # Who moves what on

    def beat(self, run_id: str, owner: str) -> None:
        """Says that a run's owner lives."""
        table = tables.run.c
        with self._db.transaction() as connection:
            connection.execute(
                update(tables.run)
                .where(table.id == run_id)
                .values(owner=owner, beat=table.beat + 1)
            )

    def used_gpu_s(self, since_day: str) -> dict[str, float]:
        """GPU-seconds of each repository since a day (YYYY-MM-DD), that day among them."""
        table = tables.usage.c
        query = (
            select(table.repo, func.sum(table.gpu_s).label("gpu_s"))
            .where(table.day >= since_day)
            .group_by(table.repo)
        )
        return {row["repo"]: float(row["gpu_s"]) for row in self._db.rows(query)}

    def lease(self, name: str) -> tuple[str, int] | None:
        """Who holds a lease, and the number that grows as long as the holder lives."""
        table = tables.lease.c
        rows = self._db.rows(select(table.holder, table.beat).where(table.name == name))
        return (rows[0]["holder"], rows[0]["beat"]) if rows else None

    def terms(self, name: str) -> dict[str, str]:
        """The options by which the holder of a lease does what it is about."""
        rows = self._db.rows(select(tables.lease.c.terms).where(tables.lease.c.name == name))
        return as_value(rows[0]["terms"], dict[str, str]) if rows and rows[0]["terms"] else {}

    def take_lease(
        self,
        name: str,
        holder: str,
        *,
        seen: tuple[str, int] | None,
        terms: Mapping[str, str] = MappingProxyType({}),
    ) -> bool:
        """Takes a lease that is as it was seen, or renews one's own; False if it has changed."""
        table, told = tables.lease.c, as_text(dict(terms))
        with self._db.transaction() as connection:
            if seen is None:
                try:
                    with connection.begin_nested():
                        connection.execute(
                            insert(tables.lease).values(
                                name=name, holder=holder, beat=1, terms=told
                            )
                        )
                except DuplicateKey:
                    return False
                return True
            moved = connection.execute(
                update(tables.lease)
                .where(table.name == name, table.holder == seen[0], table.beat == seen[1])
                .values(holder=holder, beat=seen[1] + 1, terms=told)
            )
            return moved.rowcount == 1

    def drop_lease(self, name: str, holder: str) -> None:
        """Gives one's own lease back."""
        table = tables.lease.c
        with self._db.transaction() as connection:
            connection.execute(
                delete(tables.lease).where(table.name == name, table.holder == holder)
            )


STEP: Sequence[ColumnElement[Any]] = tuple(
    tables.step.c[name]
    for name in (
        *("id", "run_id", "lora", "stage", "fingerprint", "state", "folder", "attempts"),
        "failures",
    )
)

# What is asked at every tick or for every step is built once: building costs as much as asking.


def _waiting(*whose: ColumnElement[bool]) -> Select[Any]:
    table = tables.step.c
    due = or_(table.due_at <= bindparam("now"), table.due_at > bindparam("late"))
    # What has begun is to end before more begins: later stages come first (`execution.turns`).
    later = case({stage: -n for n, stage in enumerate(Stage)}, value=table.stage)
    turn = func.row_number().over(
        partition_by=(table.repo, table.priority, table.gpus),
        order_by=(later, table.queued_at, table.id),
    )
    needs = (table.repo, table.priority, table.gpus, table.vram_gib, table.queued_at)
    ranked = (
        select(*STEP, *needs, turn.label("turn"))
        .where(table.state == StepState.WAITING, due, *whose)
        .subquery()
    )
    return (
        select(ranked, tables.run.c.owner, tables.run.c.beat)
        .join(tables.run, tables.run.c.id == ranked.c.run_id)
        .where(ranked.c.turn <= bindparam("most"))
        .order_by(ranked.c.priority.desc(), ranked.c.queued_at, ranked.c.id)
    )


def _open_attempts() -> Select[Any]:
    table, step = tables.attempt.c, tables.step.c
    needs = (step.repo, step.priority, step.gpus, step.vram_gib, step.stopping)
    own = (table.key, table.executor, table.handle, table.place, table.started_at)
    return (
        select(*STEP, *needs, *own, tables.run.c.owner, tables.run.c.beat)
        .join_from(tables.attempt, tables.step, step.id == table.step_id)
        .join(tables.run, tables.run.c.id == step.run_id)
        .where(table.state == AttemptState.OPEN)
        .order_by(table.started_at, table.key)
    )


WAITING = _waiting()
WAITING_OF = _waiting(tables.step.c.run_id == bindparam("of"))
OPEN_ATTEMPTS = _open_attempts()
_ANY_OF = tables.step.c.id.in_(bindparam("of", expanding=True))
SPECS = select(tables.step.c.id, tables.step.c.spec).where(_ANY_OF)
FREE = select(tables.step.c.id).where(_ANY_OF).with_for_update(skip_locked=True)
_other = tables.step.alias("other")
BEGIN = (
    update(tables.step)
    .where(
        tables.step.c.id == bindparam("of"),
        tables.step.c.state == StepState.WAITING,
        tables.step.c.attempts == bindparam("tried"),
        ~exists().where(
            _other.c.fingerprint == bindparam("work"),
            _other.c.state == StepState.RUNNING,
            # One inside the other: side by side, SQLite would look through all open attempts.
            exists().where(
                tables.attempt.c.step_id == _other.c.id,
                tables.attempt.c.state == AttemptState.OPEN,
                tables.attempt.c.executor == bindparam("at"),
            ),
        ),
    )
    .values(state=StepState.RUNNING, attempts=tables.step.c.attempts + 1)
)
OPEN = insert(tables.attempt)
CLOSE = (
    update(tables.attempt)
    .where(tables.attempt.c.key == bindparam("of"), tables.attempt.c.state == AttemptState.OPEN)
    .values(
        state=AttemptState.ENDED,
        outcome=bindparam("came_to"),
        ended_at=bindparam("at"),
        gpu_s=bindparam("used"),
        log_sha256=bindparam("log"),
    )
)
END = (
    update(tables.step)
    .where(tables.step.c.id == bindparam("of"), tables.step.c.state == bindparam("from"))
    .values(state=StepState.ENDED, result=bindparam("came_to"), ended_at=bindparam("at"))
)
FORGET = delete(tables.record).where(tables.record.c.fingerprint == bindparam("under"))
_ABOUT = ("fingerprint", "lora", "stage", "parts", "run_id", "git_commit", "repo")
RECORD = insert(tables.record).from_select(
    (*_ABOUT, "result", "outcome", "finished_at"),
    select(
        *(tables.step.c[name] for name in _ABOUT),
        bindparam("came_to", type_=tables.record.c.result.type),
        bindparam("as", type_=tables.record.c.outcome.type),
        bindparam("at", type_=tables.record.c.finished_at.type),
    ).where(tables.step.c.id == bindparam("of")),
)
USE = (
    update(tables.usage)
    .where(tables.usage.c.repo == bindparam("who"), tables.usage.c.day == bindparam("when"))
    .values(gpu_s=tables.usage.c.gpu_s + bindparam("used"))
)
FIRST_USE = insert(tables.usage)
HANDLE = (
    update(tables.attempt)
    .where(tables.attempt.c.key == bindparam("of"), tables.attempt.c.state == AttemptState.OPEN)
    .values(handle=bindparam("called"))
)


def _spec(text: str) -> StepSpec | InfrastructureError:
    try:
        return as_value(text, StepSpec)
    except InfrastructureError as error:
        return error


def _step(row: RowMapping) -> StepRow:
    return StepRow(
        id=row["id"],
        run_id=row["run_id"],
        lora=row["lora"],
        stage=Stage(row["stage"]),
        fingerprint=row["fingerprint"],
        state=StepState(row["state"]),
        folder=Path(row["folder"]),
        attempts=row["attempts"],
        failures=row["failures"],
    )


def _attempt(row: RowMapping) -> OpenAttempt:
    return OpenAttempt(
        key=row["key"],
        step=_step(row),
        repo=row["repo"],
        priority=row["priority"],
        executor=row["executor"],
        handle=row["handle"],
        place=as_value(row["place"], dict[str, Any]),
        gpus=row["gpus"],
        vram_gib=row["vram_gib"],
        started_at=row["started_at"],
        stopping=row["stopping"],
        owner=row["owner"],
        beat=row["beat"],
    )
