"""What a git host delivered, each once, and what people approved."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Select,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError as DuplicateKey

from lora_ci.ledger.database import Database
from lora_ci.ledger.jobs import Halt, JobState, NewJob, add_job, halt
from lora_ci.ledger.tables import approval, delivery, job

KNOWN_AT_ONCE = 500


class Receipt(StrEnum):
    """What became of a delivery at the door."""

    NEW = "new"
    KNOWN = "known"
    FULL = "full"


class DeliveryState(StrEnum):
    """A delivery goes forward only."""

    WAITING = "waiting"
    DONE = "done"
    PARKED = "parked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A delivery that waits; `attempts` counts the one that it was taken for.

    `unheard` are the attempts in a row before it of which nothing was heard: the process died.
    """

    seq: int
    id: str
    event: str
    payload: bytes
    attempts: int
    unheard: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """A person let a commit of a pull request run."""

    repo: str
    number: int
    sha: str
    person: str


@dataclass(frozen=True, slots=True)
class Move:
    """A repository has another name."""

    old: str
    new: str


Effect = NewJob | Halt | Approval | Move


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is still to be done, in numbers."""

    deliveries: int
    jobs: int
    running: int


def _up_to(waiting: Select[Any]) -> Any:
    """How many rows there are, counted no further than needed."""
    limited = waiting.limit(bindparam("most")).subquery()
    return select(func.count()).select_from(limited).scalar_subquery()


# Made once: what comes through the door has no time to spare.
INSERT = insert(delivery)
KNOWN = select(delivery.c.seq).where(
    or_(delivery.c.id == bindparam("delivery_id"), delivery.c.digest == bindparam("body_digest"))
)
WAITING_UP_TO = select(
    _up_to(select(delivery.c.seq).where(delivery.c.state == DeliveryState.WAITING))
    + _up_to(select(job.c.id).where(job.c.state == JobState.WAITING))
)


class Inbox:
    """Deliveries in order of arrival, and what was done about each, in one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def receive(self, delivery_id: str, event: str, payload: bytes, *, limit: int) -> Receipt:
        """Keeps a delivery, unless it is known or `limit` things wait already.

        It is known by its id, and by what is signed: the id is not.
        """
        now = self._db.now()
        digest = _digest(event, payload)
        values = {
            "id": delivery_id,
            "digest": digest,
            "event": event,
            "received_at": now,
            "due_at": now,
            "payload": payload,
            "state": DeliveryState.WAITING,
            "attempts": 0,
            "unheard": 0,
        }
        try:
            with self._db.transaction() as connection:
                if (connection.execute(WAITING_UP_TO, {"most": limit}).scalar() or 0) >= limit:
                    named = {"delivery_id": delivery_id, "body_digest": digest}
                    known = connection.execute(KNOWN, named).first()
                    return Receipt.KNOWN if known else Receipt.FULL
                connection.execute(INSERT, values)
        except DuplicateKey:
            return Receipt.KNOWN
        return Receipt.NEW

    def take(self) -> Delivery | None:
        """The oldest delivery that is due; what takes the process down is counted as well."""
        table = delivery.c
        due = (
            select(delivery)
            .where(table.state == DeliveryState.WAITING, table.due_at <= self._db.now())
            .order_by(table.seq)
            .limit(1)
        )
        with self._db.transaction() as connection:
            row = connection.execute(due).mappings().first()
            if row is None:
                return None
            connection.execute(
                update(delivery)
                .where(table.seq == row["seq"], table.state == DeliveryState.WAITING)
                .values(attempts=row["attempts"] + 1, unheard=row["unheard"] + 1)
            )
        return Delivery(
            seq=row["seq"],
            id=row["id"],
            event=row["event"],
            payload=row["payload"] or b"",
            attempts=row["attempts"] + 1,
            unheard=row["unheard"],
        )

    def settle(self, taken: Delivery, note: str, *effects: Effect) -> bool:
        """waiting → done together with what came of it; False if it was settled before."""
        with self._db.transaction() as connection:
            moved = connection.execute(
                update(delivery)
                .where(delivery.c.seq == taken.seq, delivery.c.state == DeliveryState.WAITING)
                .values(state=DeliveryState.DONE, note=note, payload=None)
            )
            if moved.rowcount != 1:
                return False
            for effect in effects:
                self._apply(connection, taken, effect)
        return True

    def put_off(self, taken: Delivery, note: str, *, delay_s: float | None) -> DeliveryState:
        """Another attempt after a delay, or (None) it is parked, with the note."""
        state = DeliveryState.PARKED if delay_s is None else DeliveryState.WAITING
        with self._db.transaction() as connection:
            connection.execute(
                update(delivery)
                .where(delivery.c.seq == taken.seq, delivery.c.state == DeliveryState.WAITING)
                .values(state=state, note=note, due_at=self._db.now(delay_s or 0), unheard=0)
            )
        return state

    def known(self, ids: Iterable[str]) -> frozenset[str]:
        """Those of the ids that were delivered."""
        asked, found = list(ids), set[str]()
        for first in range(0, len(asked), KNOWN_AT_ONCE):
            some = asked[first : first + KNOWN_AT_ONCE]
            rows = self._db.rows(select(delivery.c.id).where(delivery.c.id.in_(some)))
            found.update(row["id"] for row in rows)
        return frozenset(found)

    def note_of(self, delivery_id: str) -> str | None:
        """What was done about a delivery; None as long as nothing was."""
        rows = self._db.rows(select(delivery.c.note).where(delivery.c.id == delivery_id))
        return rows[0]["note"] if rows else None

    def approvers(self, repo: str, number: int, sha: str) -> tuple[str, ...]:
        """Who approved this very commit of a pull request, in the order in which they did."""
        table = approval.c
        rows = self._db.rows(
            select(table.person)
            .where(table.repo == repo, table.number == number, table.sha == sha)
            .order_by(table.at, table.person)
        )
        return tuple(row["person"] for row in rows)

    def waiting(self) -> Waiting:
        """How much there is to do."""
        with self._db.transaction() as connection:
            table = job.c.state
            return Waiting(
                deliveries=_count(connection, delivery.c.state, DeliveryState.WAITING),
                jobs=_count(connection, table, JobState.WAITING),
                running=_count(connection, table, JobState.RUNNING),
            )

    def forget(self, *, older_than_s: float) -> None:
        """Deletes what was done long ago: a delivery so old does not come again."""
        before = self._db.now(-older_than_s)
        with self._db.transaction() as connection:
            connection.execute(
                delete(delivery).where(
                    delivery.c.state != DeliveryState.WAITING, delivery.c.received_at < before
                )
            )
            connection.execute(
                delete(job).where(job.c.state == JobState.DONE, job.c.created_at < before)
            )

    def _apply(self, connection: Connection, taken: Delivery, effect: Effect) -> None:
        now = self._db.now()
        match effect:
            case NewJob():
                add_job(connection, taken.id, effect, now)
            case Halt():
                halt(connection, effect, now)
            case Approval():
                _approve(connection, effect, now)
            case Move(old, new):
                for table in (job, approval):
                    connection.execute(update(table).where(table.c.repo == old).values(repo=new))


def _digest(event: str, payload: bytes) -> str | None:
    """What a delivery is known by if it comes again under another id, as a replayed one may.

    Two events never have the same body: each has the ids and the times of what happened. GitHub
    keeps the id of what it sends again. A `ping` tells of nothing, so it is let through.
    """
    if event == "ping":
        return None
    return hashlib.sha256(event.encode() + b"\0" + payload).hexdigest()


def _approve(connection: Connection, new: Approval, now: str) -> None:
    """Keeps an approval, one for each person: nobody's takes another's away."""
    table, person = approval.c, new.person[:64]
    same = table.repo == new.repo, table.number == new.number, table.sha == new.sha
    connection.execute(delete(approval).where(*same, table.person == person))
    connection.execute(
        insert(approval).values(
            repo=new.repo, number=new.number, sha=new.sha, person=person, at=now
        )
    )


def _count(connection: Connection, column: Column[str], state: str) -> int:
    query = select(func.count()).where(column == state)
    return connection.execute(query).scalar() or 0
