"""Transactions, one at a time in this process: waiting here is quicker than in SQLite."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Engine, RowMapping, Select, text

from lora_ci.core.clock import Clock
from lora_ci.core.errors import InfrastructureError
from lora_ci.core.signals import signals_wait
from lora_ci.ledger.engine import READS, open_engine

T = TypeVar("T")

ALONE = text("SELECT pg_advisory_xact_lock(hashtextextended(:what, 0))")


def open_database(url: str, clock: Clock) -> Database:
    """The database at an SQLAlchemy URL (`sqlite:///path`, `postgresql+psycopg://…`)."""
    return Database(open_engine(url), clock)


class Database:
    """What the ledger's subjects share; threads may use it together."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._reader = engine.execution_options(**{READS: True})
        self._clock = clock
        self._turn = threading.Lock()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """All or nothing. A signal inside the driver would come out as some other error of its."""
        with signals_wait(), self._turn, self._engine.begin() as connection:
            yield connection

    def alone(self, connection: Connection, what: str) -> None:
        """Waits for every transaction that has come here with the same name.

        What is looked at and then written stays as it was seen. SQLite has one writer at a time.
        """
        if self.dialect == "postgresql":
            connection.execute(ALONE, {"what": what})

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A connection that sees all tables as they were at its first question.

        Others go on meanwhile: it is a transaction of its own that writes nothing.
        """
        options: dict[str, Any] = {READS: True}
        if self.dialect == "postgresql":
            options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with self._engine.connect().execution_options(**options) as connection:
            yield connection

    @property
    def dialect(self) -> str:
        """What kind of database it is: `sqlite` or `postgresql`."""
        return self._engine.dialect.name

    def rows(self, query: Select[Any], values: Mapping[str, Any] | None = None) -> list[RowMapping]:
        """All rows of a query; `values` are its parameters."""
        with signals_wait(), self._turn, self._reader.connect() as connection:
            return list(connection.execute(query, values).mappings())

    def moment(self) -> datetime:
        """Now, as the clock says."""
        return self._clock.now()

    def now(self, later_s: float = 0) -> str:
        """Now, or so many seconds later: fixed width, so that text order is time order."""
        moment = self._clock.now() + timedelta(seconds=later_s)
        return moment.isoformat(timespec="microseconds")

    def close(self) -> None:
        """Gives the connections back."""
        self._engine.dispose()


def as_text(value: object) -> str:
    """JSON of a value."""
    return msgspec.json.encode(value).decode()


def as_value(text: str, kind: type[T]) -> T:
    """The value of a JSON text. Raises InfrastructureError for what another version wrote."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        message = f"the ledger has a {kind.__name__} that this lora-ci cannot read: {error}"
        hint = "next: pip install --upgrade lora-ci; a newer one may have written it"
        raise InfrastructureError(message, hint=hint) from error
