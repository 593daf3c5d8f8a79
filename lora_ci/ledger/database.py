"""Transactions, one at a time in this process: waiting here is quicker than in SQLite."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, Select, event

from lora_ci.core.clock import Clock
from lora_ci.core.signals import signals_wait
from lora_ci.ledger.engine import open_engine


def open_database(url: str, clock: Clock) -> Database:
    """The bot's part of the ledger at an SQLAlchemy URL."""
    engine = open_engine(url)
    if engine.dialect.name == "sqlite":
        engine.dispose()
        event.listen(engine, "connect", _hurry)
    return Database(engine, clock)


def _hurry(connection: Any, _record: object) -> None:
    """Waits for the disk now and then instead of at each commit.

    What a power cut takes is found to be missing, and asked for again; a killed process loses
    nothing.
    """
    connection.execute("PRAGMA synchronous=NORMAL")


class Database:
    """What inbox and jobs share; threads may use it together."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._turn = threading.Lock()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """All or nothing. A signal inside the driver would come out as some other error of its."""
        with signals_wait(), self._turn, self._engine.begin() as connection:
            yield connection

    def rows(self, query: Select[Any]) -> list[RowMapping]:
        """All rows of a query."""
        with self.transaction() as connection:
            return list(connection.execute(query).mappings())

    def now(self, later_s: float = 0) -> str:
        """Now, or so many seconds later: fixed width, so that text order is time order."""
        moment = self._clock.now() + timedelta(seconds=later_s)
        return moment.isoformat(timespec="microseconds")

    def close(self) -> None:
        """Gives the connections back."""
        self._engine.dispose()
