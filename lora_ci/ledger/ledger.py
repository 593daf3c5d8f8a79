"""What ran, and what came of it. Every transition is one conditional UPDATE in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    and_,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError as DuplicateKey

from lora_ci.core.clock import Clock
from lora_ci.core.errors import InfrastructureError
from lora_ci.core.event import Event
from lora_ci.core.plan import Decision, Record
from lora_ci.core.run import RunView
from lora_ci.core.signals import signals_wait
from lora_ci.core.step import Outcome, Stage, StepResult, StepSpec
from lora_ci.core.votes import Against, Choice, Side, Vote
from lora_ci.ledger import tables
from lora_ci.ledger.engine import open_engine
from lora_ci.ledger.record_file import KEPT

T = TypeVar("T")

MAX_ATTEMPTS = 3


class StepState(StrEnum):
    """A step goes forward only: waiting → running → ended; a retried error waits again."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """A step of a run as the ledger has it."""

    id: int
    run_id: str
    lora: str
    stage: Stage
    fingerprint: str
    spec: StepSpec
    state: StepState
    attempts: int
    handle: str | None
    result: StepResult | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run as lists show it."""

    id: str
    event: Event
    started_at: str
    outcome: Outcome | None


def open_ledger(url: str, clock: Clock) -> Ledger:
    """The ledger at an SQLAlchemy URL (`sqlite:///path`, `postgresql+psycopg://…`)."""
    return Ledger(open_engine(url), clock)


class Ledger:
    """Runs, steps and records. Implements `plan.records.Records`."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    def close(self) -> None:
        """Gives the connections back."""
        self._engine.dispose()

    # Records

    def find(self, fingerprint: str) -> Record | None:
        """The record under a fingerprint."""
        rows = self._rows(select(tables.record).where(tables.record.c.fingerprint == fingerprint))
        return _record(rows[0]) if rows else None

    def passed(self, lora: str | None, stage: Stage) -> tuple[Record, ...]:
        """The passed records of a stage of a LoRA (None: of any), newest first, at most 20."""
        table = tables.record.c
        whose = () if lora is None else (table.lora == lora,)
        query = (
            select(tables.record)
            .where(table.stage == stage, table.outcome == Outcome.PASSED, *whose)
            .order_by(table.finished_at.desc())
            .limit(20)
        )
        return tuple(_record(row) for row in self._rows(query))

    def newest(self) -> tuple[Record, ...]:
        """The newest record of each LoRA, stage and outcome."""
        table = tables.record.c
        key = table.lora, table.stage, table.outcome
        last = select(*key, func.max(table.finished_at).label("at")).group_by(*key).subquery()
        here = and_(
            table.lora == last.c.lora,
            table.stage == last.c.stage,
            table.outcome == last.c.outcome,
            table.finished_at == last.c.at,
        )
        query = select(tables.record).join(last, here)
        return tuple(_record(row) for row in self._rows(query))

    def finished_since(self, moment: str) -> tuple[Record, ...]:
        """Records finished at or after a moment, oldest first."""
        table = tables.record.c
        query = select(tables.record).where(table.finished_at >= moment).order_by(table.finished_at)
        return tuple(_record(row) for row in self._rows(query))

    # Runs

    def start_run(self, run_id: str, event: Event) -> None:
        """Notes a run; a second call changes nothing."""
        values = {"id": run_id, "event": _text(event), "started_at": self._now()}
        try:
            with self._transaction() as connection:
                connection.execute(insert(tables.run).values(values))
        except DuplicateKey:
            return

    def save_view(self, view: RunView) -> None:
        """Keeps what the run came to, for reports."""
        with self._transaction() as connection:
            connection.execute(
                update(tables.run)
                .where(tables.run.c.id == view.run_id)
                .values(outcome=view.outcome, view=_text(view))
            )

    def load_view(self, run_id: str) -> RunView | None:
        """The saved view of a run."""
        text = self._rows(select(tables.run.c.view).where(tables.run.c.id == run_id))
        return _value(text[0]["view"], RunView) if text and text[0]["view"] else None

    def recent_runs(self, limit: int) -> tuple[RunRow, ...]:
        """The newest runs first."""
        table = tables.run.c
        query = (
            select(table.id, table.event, table.started_at, table.outcome)
            .order_by(table.started_at.desc(), table.id.desc())
            .limit(limit)
        )
        return tuple(
            RunRow(
                id=row["id"],
                event=_value(row["event"], Event),
                started_at=row["started_at"],
                outcome=Outcome(row["outcome"]) if row["outcome"] else None,
            )
            for row in self._rows(query)
        )

    # Votes

    def cast(self, vote: Vote) -> None:
        """Keeps a vote, in place of an earlier one of the same person on the same pair."""
        values = msgspec.to_builtins(replace(vote, at=self._now()))
        with self._transaction() as connection:
            connection.execute(delete(tables.vote).where(_is(vote)))
            connection.execute(insert(tables.vote).values(values))

    def withdraw(self, vote: Vote) -> None:
        """Forgets a person's vote on a pair."""
        with self._transaction() as connection:
            connection.execute(delete(tables.vote).where(_is(vote)))

    def votes(self, fingerprint: str | None = None) -> tuple[Vote, ...]:
        """The votes on a judgement (None: on all), oldest first."""
        table = tables.vote.c
        query = select(tables.vote).order_by(table.at, table.pair, table.voter)
        if fingerprint is not None:
            query = query.where(table.fingerprint == fingerprint)
        return tuple(_vote(row) for row in self._rows(query))

    # Steps

    def ensure_step(self, run_id: str, decision: Decision, spec: StepSpec, *, commit: str) -> None:
        """Adds a waiting step; a second call for the same stage changes nothing."""
        parts = decision.fingerprint.parts if decision.fingerprint else {}
        values: dict[str, Any] = {
            "run_id": run_id,
            "lora": spec.lora,
            "stage": spec.stage,
            "fingerprint": spec.fingerprint,
            "parts": _text(parts),
            "git_commit": commit,
            "spec": _text(spec),
            "state": StepState.WAITING,
            "attempts": 0,
        }
        try:
            with self._transaction() as connection:
                connection.execute(insert(tables.step).values(values))
        except DuplicateKey:
            return

    def unfinished(self, run_id: str) -> tuple[StepRow, ...]:
        """The waiting and running steps of a run, oldest first."""
        table = tables.step.c
        query = (
            select(tables.step)
            .where(table.run_id == run_id, table.state != StepState.ENDED)
            .order_by(table.id)
        )
        return tuple(_step(row) for row in self._rows(query))

    def step_result(self, run_id: str, lora: str, stage: Stage) -> StepResult | None:
        """What a step of a run came to."""
        table = tables.step.c
        query = select(table.result).where(
            table.run_id == run_id, table.lora == lora, table.stage == stage
        )
        rows = self._rows(query)
        text = rows[0]["result"] if rows else None
        return _value(text, StepResult) if text else None

    def mark_running(self, step: StepRow, handle: str) -> bool:
        """waiting → running; False if another reconciler was first."""
        return self._move(
            step,
            StepState.WAITING,
            state=StepState.RUNNING,
            attempts=step.attempts + 1,
            handle=handle,
        )

    def note_handle(self, step: StepRow, handle: str) -> None:
        """Keeps what the executor calls the attempt, so that another process can adopt it."""
        self._move(step, StepState.RUNNING, handle=handle)

    def mark_waiting(self, step: StepRow) -> bool:
        """running → waiting: a lost or failed attempt is to be made again."""
        return self._move(step, StepState.RUNNING, state=StepState.WAITING, handle=None)

    def finish(self, step: StepRow, result: StepResult) -> bool:
        """running → ended; a result that stands under its fingerprint becomes a record with it."""
        with self._transaction() as connection:
            table = tables.step.c
            moved = connection.execute(
                update(tables.step)
                .where(table.id == step.id, table.state == StepState.RUNNING)
                .values(state=StepState.ENDED, result=_text(result))
            )
            if moved.rowcount != 1:
                return False
            if result.outcome in KEPT:
                row = connection.execute(
                    select(table.parts, table.git_commit).where(table.id == step.id)
                ).one()
                connection.execute(
                    delete(tables.record).where(tables.record.c.fingerprint == step.fingerprint)
                )
                connection.execute(
                    insert(tables.record).values(
                        fingerprint=step.fingerprint,
                        lora=step.lora,
                        stage=step.stage,
                        parts=row.parts,
                        result=_text(result),
                        outcome=result.outcome,
                        run_id=step.run_id,
                        git_commit=row.git_commit,
                        finished_at=self._now(),
                    )
                )
        return True

    def _move(self, step: StepRow, expected: StepState, **values: Any) -> bool:
        table = tables.step.c
        with self._transaction() as connection:
            moved = connection.execute(
                update(tables.step)
                .where(table.id == step.id, table.state == expected)
                .values(values)
            )
            return moved.rowcount == 1

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """A signal inside the driver would come out as some other error of its."""
        with signals_wait(), self._engine.begin() as connection:
            yield connection

    def _rows(self, query: Any) -> list[RowMapping]:
        with signals_wait(), self._engine.connect() as connection:
            return list(connection.execute(query).mappings())

    def _now(self) -> str:
        return _stamp(self._clock.now())


def _stamp(at: datetime) -> str:
    """Fixed width, so that text order is time order."""
    return at.isoformat(timespec="microseconds")


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _value(text: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        message = f"the ledger has a {kind.__name__} that this lora-ci cannot read: {error}"
        hint = "next: pip install --upgrade lora-ci; a newer one may have written it"
        raise InfrastructureError(message, hint=hint) from error


def _record(row: RowMapping) -> Record:
    return Record(
        fingerprint=row["fingerprint"],
        stage=Stage(row["stage"]),
        lora=row["lora"],
        parts=_value(row["parts"], dict[str, str]),
        result=_value(row["result"], StepResult),
        run_id=row["run_id"],
        commit=row["git_commit"],
        finished_at=row["finished_at"],
    )


def _is(vote: Vote) -> ColumnElement[bool]:
    """True of the row of the same person and pair."""
    table = tables.vote.c
    return and_(
        table.fingerprint == vote.fingerprint,
        table.pair == vote.pair,
        table.voter == vote.voter,
    )


def _vote(row: RowMapping) -> Vote:
    return Vote(
        fingerprint=row["fingerprint"],
        pair=row["pair"],
        voter=row["voter"],
        lora=row["lora"],
        against=Against(row["against"]),
        choice=Choice(row["choice"]),
        side=Side(row["side"]),
        seed=row["seed"],
        at=row["at"],
    )


def _step(row: RowMapping) -> StepRow:
    return StepRow(
        id=row["id"],
        run_id=row["run_id"],
        lora=row["lora"],
        stage=Stage(row["stage"]),
        fingerprint=row["fingerprint"],
        spec=_value(row["spec"], StepSpec),
        state=StepState(row["state"]),
        attempts=row["attempts"],
        handle=row["handle"],
        result=_value(row["result"], StepResult) if row["result"] else None,
    )
