"""What is wrong with a ledger, as far as the ledger alone can tell, and what can be put right."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Column, select, text, update
from sqlalchemy import Table as SqlTable

from lora_ci.core.artifact import Artifact
from lora_ci.core.errors import InfrastructureError
from lora_ci.core.event import Event
from lora_ci.core.run import RunView
from lora_ci.core.step import Outcome, Stage, StepResult, StepSpec
from lora_ci.ledger import tables
from lora_ci.ledger.database import Database, as_text
from lora_ci.ledger.queue import AttemptState, StepState
from lora_ci.ledger.retention import each

# Columns of JSON, and what is in it.
VALUES: tuple[tuple[SqlTable, Column[str], str, Any], ...] = (
    (tables.run, tables.run.c.id, "event", Event),
    (tables.run, tables.run.c.id, "view", RunView),
    (tables.step, tables.step.c.id, "parts", dict[str, str]),
    (tables.step, tables.step.c.id, "spec", StepSpec),
    (tables.step, tables.step.c.id, "result", StepResult),
    (tables.attempt, tables.attempt.c.key, "place", dict[str, Any]),
    (tables.record, tables.record.c.fingerprint, "parts", dict[str, str]),
    (tables.record, tables.record.c.fingerprint, "result", StepResult),
)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A value that no part of this lora-ci can read, and where it is."""

    table: str
    key: str
    column: str
    why: str


@dataclass(frozen=True, slots=True)
class OpenAttempt:
    """An attempt that has not ended, as far as the ledger knows."""

    key: str
    executor: str
    handle: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStep:
    """A step that has not ended. `owner` and `beat` tell whether its run goes on."""

    id: int
    run_id: str
    lora: str
    stage: Stage
    state: StepState
    queued_at: str
    owner: str | None
    beat: int
    attempts: tuple[OpenAttempt, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a record says that its step made."""

    fingerprint: str
    lora: str
    stage: Stage
    artifacts: tuple[Artifact, ...]


class Checks:
    """Looks at every row."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def damage(self) -> tuple[str, ...]:
        """What SQLite finds wrong with its own file; PostgreSQL sees to that itself."""
        if self._db.dialect != "sqlite":
            return ()
        try:
            with self._db.snapshot() as connection:
                found = connection.execute(text("PRAGMA integrity_check")).scalars()
                return tuple(line for line in found if line != "ok")
        except InfrastructureError as error:
            return (str(error),)

    def dangling(self) -> tuple[str, ...]:
        """Rows that name a row of another table that is not there."""
        found = []
        for table in tables.metadata.sorted_tables:
            for key in table.foreign_keys:
                there = select(key.column).where(key.column == key.parent).correlate(table)
                own = next(iter(table.primary_key))
                query = select(own, key.parent).where(~there.exists())
                found += [
                    f"{table.name} {row[own.name]} is of {key.column.table.name} "
                    f"{row[key.parent.name]}, which is not there"
                    for row in self._db.rows(query)
                ]
        return tuple(found)

    def unreadable(self) -> Iterator[Unreadable]:
        """JSON that is none, or has another shape than this version reads."""
        for table, key, name, kind in VALUES:
            decoder = msgspec.json.Decoder(kind)
            column = table.c[name]
            for row in each(self._db, select(key, column).where(column.is_not(None)), key):
                try:
                    decoder.decode(row[name])
                except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
                    yield Unreadable(table.name, str(row[key.name]), name, str(error))

    def made(self) -> Iterator[Made]:
        """What each readable record made."""
        table = tables.record.c
        query = select(table.fingerprint, table.lora, table.stage, table.result)
        for row in each(self._db, query, table.fingerprint):
            try:
                result = msgspec.json.decode(row["result"], type=StepResult)
            except msgspec.DecodeError:
                continue
            yield Made(
                fingerprint=row["fingerprint"],
                lora=row["lora"],
                stage=Stage(row["stage"]),
                artifacts=result.artifacts,
            )

    def open_steps(self) -> tuple[OpenStep, ...]:
        """The steps that have not ended, oldest first."""
        step, run, attempt = tables.step.c, tables.run.c, tables.attempt.c
        attempts = defaultdict[int, list[OpenAttempt]](list)
        is_open = attempt.state == AttemptState.OPEN
        for row in self._db.rows(select(tables.attempt).where(is_open).order_by(attempt.key)):
            one = OpenAttempt(row["key"], row["executor"], row["handle"])
            attempts[row["step_id"]].append(one)
        own = (step.id, step.run_id, step.lora, step.stage, step.state, step.queued_at)
        query = (
            select(*own, run.owner, run.beat)
            .join_from(tables.step, tables.run, run.id == step.run_id)
            .where(step.state != StepState.ENDED)
            .order_by(step.id)
        )
        return tuple(
            OpenStep(
                id=row["id"],
                run_id=row["run_id"],
                lora=row["lora"],
                stage=Stage(row["stage"]),
                state=StepState(row["state"]),
                queued_at=row["queued_at"],
                owner=row["owner"],
                beat=row["beat"],
                attempts=tuple(attempts[row["id"]]),
            )
            for row in self._db.rows(query)
        )

    def stray_attempts(self) -> tuple[str, ...]:
        """The keys of open attempts whose step does not run."""
        step, attempt = tables.step.c, tables.attempt.c
        query = (
            select(attempt.key)
            .join_from(tables.attempt, tables.step, step.id == attempt.step_id)
            .where(attempt.state == AttemptState.OPEN, step.state != StepState.RUNNING)
            .order_by(attempt.key)
        )
        return tuple(row["key"] for row in self._db.rows(query))

    def is_known(self, sha256: str) -> bool:
        """True for the fingerprint of a record."""
        table = tables.record.c.fingerprint
        return bool(self._db.rows(select(table).where(table == sha256)))

    # What can be put right

    def interrupt(self, left: OpenStep) -> bool:
        """Ends a step and its attempts as interrupted; False if it has moved on meanwhile.

        What its attempts used is not known.
        """
        step, attempt, now = tables.step.c, tables.attempt.c, self._db.now()
        result = as_text(StepResult(outcome=Outcome.INTERRUPTED))
        with self._db.transaction() as connection:
            moved = connection.execute(
                update(tables.step)
                .where(step.id == left.id, step.state == left.state)
                .values(state=StepState.ENDED, result=result, ended_at=now)
            )
            if moved.rowcount != 1:
                return False
            connection.execute(
                update(tables.attempt)
                .where(attempt.step_id == left.id, attempt.state == AttemptState.OPEN)
                .values(state=AttemptState.ENDED, outcome=Outcome.INTERRUPTED, ended_at=now)
            )
        return True

    def close_attempt(self, key: str) -> bool:
        """Ends an open attempt whose step does not run."""
        step, attempt = tables.step.c, tables.attempt.c
        runs = select(step.id).where(step.state == StepState.RUNNING)
        with self._db.transaction() as connection:
            moved = connection.execute(
                update(tables.attempt)
                .where(
                    attempt.key == key,
                    attempt.state == AttemptState.OPEN,
                    attempt.step_id.not_in(runs),
                )
                .values(
                    state=AttemptState.ENDED,
                    outcome=Outcome.INTERRUPTED,
                    ended_at=self._db.now(),
                )
            )
            return moved.rowcount == 1
