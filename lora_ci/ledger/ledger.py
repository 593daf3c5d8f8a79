"""What ran, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import msgspec
from sqlalchemy import (
    ColumnElement,
    RowMapping,
    and_,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError as DuplicateKey

from lora_ci.core.clock import Clock
from lora_ci.core.event import Event
from lora_ci.core.plan import Record
from lora_ci.core.run import RunView
from lora_ci.core.step import Outcome, Stage, StepResult
from lora_ci.core.votes import Against, Choice, Side, Vote
from lora_ci.ledger import tables
from lora_ci.ledger.database import Database, as_text, as_value, open_database
from lora_ci.ledger.queue import Queue
from lora_ci.ledger.runners import Runners


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run as lists show it; `owner` is the process that moved it on last."""

    id: str
    event: Event
    started_at: str
    outcome: Outcome | None
    owner: str | None


def open_ledger(url: str, clock: Clock, *, repo: str | None = None) -> Ledger:
    """The ledger at an SQLAlchemy URL (`sqlite:///path`, `postgresql+psycopg://…`)."""
    return Ledger(open_database(url, clock), repo=repo)


class Ledger:
    """Runs, records and votes; `queue` has the steps, `runners` the machines that do them.

    Implements `plan.records.Records`.

    With a `repo`, what is found by the name of a LoRA is of that repository; what is found by its
    fingerprint may be anybody's, as it is the same work.
    """

    def __init__(self, database: Database, *, repo: str | None = None) -> None:
        self._db = database
        self._whose = () if repo is None else (tables.record.c.repo == repo.lower(),)
        self.queue = Queue(database)
        self.runners = Runners(database)

    def close(self) -> None:
        """Gives the connections back."""
        self._db.close()

    # Records

    def find(self, fingerprint: str) -> Record | None:
        """The record under a fingerprint."""
        return self.found([fingerprint]).get(fingerprint)

    def found(self, fingerprints: Iterable[str]) -> dict[str, Record]:
        """The records under fingerprints, by them; of those without one nothing."""
        rows = self._db.rows(FOUND, {"under": list(fingerprints)})
        return {row["fingerprint"]: _record(row) for row in rows}

    def passed(self, lora: str | None, stage: Stage) -> tuple[Record, ...]:
        """The passed records of a stage of a LoRA (None: of any), newest first, at most 20."""
        table = tables.record.c
        whose = self._whose if lora is None else (*self._whose, table.lora == lora)
        query = (
            select(tables.record)
            .where(table.stage == stage, table.outcome == Outcome.PASSED, *whose)
            .order_by(table.finished_at.desc())
            .limit(20)
        )
        return tuple(_record(row) for row in self._db.rows(query))

    def newest(self) -> tuple[Record, ...]:
        """The newest record of each LoRA, stage and outcome."""
        table = tables.record.c
        key = table.lora, table.stage, table.outcome
        newest = select(*key, func.max(table.finished_at).label("at")).where(*self._whose)
        last = newest.group_by(*key).subquery()
        here = and_(
            table.lora == last.c.lora,
            table.stage == last.c.stage,
            table.outcome == last.c.outcome,
            table.finished_at == last.c.at,
        )
        query = select(tables.record).join(last, here).where(*self._whose)
        return tuple(_record(row) for row in self._db.rows(query))

    def finished_since(self, moment: str) -> tuple[Record, ...]:
        """Records finished at or after a moment, oldest first."""
        table = tables.record.c
        since = (*self._whose, table.finished_at >= moment)
        query = select(tables.record).where(*since).order_by(table.finished_at)
        return tuple(_record(row) for row in self._db.rows(query))

    # Runs

    def start_run(self, run_id: str, event: Event) -> None:
        """Notes a run; a second call changes nothing."""
        values = {"id": run_id, "event": as_text(event), "started_at": self._db.now()}
        try:
            with self._db.transaction() as connection:
                connection.execute(insert(tables.run).values(values))
        except DuplicateKey:
            return

    def save_view(self, view: RunView) -> None:
        """Keeps what the run came to, for reports."""
        with self._db.transaction() as connection:
            connection.execute(
                update(tables.run)
                .where(tables.run.c.id == view.run_id)
                .values(outcome=view.outcome, view=as_text(view))
            )

    def save_plan(self, view: RunView) -> None:
        """Keeps what a run has before it, for `Attempts.planned`; one that has ended stays."""
        table = tables.run.c
        with self._db.transaction() as connection:
            connection.execute(
                update(tables.run)
                .where(table.id == view.run_id, table.outcome.is_(None))
                .values(view=as_text(view))
            )

    def load_view(self, run_id: str) -> RunView | None:
        """The saved view of a run that has ended."""
        table = tables.run.c
        ended = table.id == run_id, table.outcome.is_not(None)
        text = self._db.rows(select(table.view).where(*ended))
        return as_value(text[0]["view"], RunView) if text and text[0]["view"] else None

    def recent_runs(self, limit: int) -> tuple[RunRow, ...]:
        """The newest runs first."""
        table = tables.run.c
        query = (
            select(table.id, table.event, table.started_at, table.outcome, table.owner)
            .order_by(table.started_at.desc(), table.id.desc())
            .limit(limit)
        )
        return tuple(
            RunRow(
                id=row["id"],
                event=as_value(row["event"], Event),
                started_at=row["started_at"],
                outcome=Outcome(row["outcome"]) if row["outcome"] else None,
                owner=row["owner"],
            )
            for row in self._db.rows(query)
        )

    # Votes

    def cast(self, vote: Vote) -> None:
        """Keeps a vote, in place of an earlier one of the same person on the same pair."""
        values = msgspec.to_builtins(replace(vote, at=self._db.now()))
        with self._db.transaction() as connection:
            self._db.alone(connection, f"{vote.fingerprint} {vote.pair} {vote.voter}")
            connection.execute(delete(tables.vote).where(_is(vote)))
            connection.execute(insert(tables.vote).values(values))

    def withdraw(self, vote: Vote) -> None:
        """Forgets a person's vote on a pair."""
        with self._db.transaction() as connection:
            connection.execute(delete(tables.vote).where(_is(vote)))

    def votes(self, fingerprint: str | None = None) -> tuple[Vote, ...]:
        """The votes on a judgement (None: on all), oldest first."""
        table = tables.vote.c
        query = select(tables.vote).order_by(table.at, table.pair, table.voter)
        if fingerprint is not None:
            query = query.where(table.fingerprint == fingerprint)
        return tuple(_vote(row) for row in self._db.rows(query))


# Asked of every step before it begins.
FOUND = select(tables.record).where(
    tables.record.c.fingerprint.in_(bindparam("under", expanding=True))
)


def _record(row: RowMapping) -> Record:
    return Record(
        fingerprint=row["fingerprint"],
        stage=Stage(row["stage"]),
        lora=row["lora"],
        parts=as_value(row["parts"], dict[str, str]),
        result=as_value(row["result"], StepResult),
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
