"""Machines that run steps: what was last seen of each, and what an operator wants of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import RowMapping, delete, insert, select, update
from sqlalchemy.exc import IntegrityError as DuplicateKey

from lora_ci.core.machine import Machine
from lora_ci.ledger import tables
from lora_ci.ledger.database import Database, as_text, as_value

FORGOTTEN_S = 30 * 86_400.0


class RunnerState(StrEnum):
    """What an operator wants: all, no new steps, or that those that run go elsewhere too."""

    ACTIVE = "active"
    CORDONED = "cordoned"
    DRAINED = "drained"


@dataclass(frozen=True, slots=True, kw_only=True)
class Runner:
    """A machine as it was at `seen_at`; `why` is what the operator said."""

    machine: Machine
    state: RunnerState
    seen_at: str
    why: str


class Runners:
    """The machines of a ledger."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def all(self) -> tuple[Runner, ...]:
        """The machines, by name."""
        return tuple(map(_runner, self._db.rows(select(tables.runner).order_by("name"))))

    def find(self, name: str) -> Runner | None:
        """The machine of that name, if one was seen."""
        rows = self._db.rows(select(tables.runner).where(tables.runner.c.name == name))
        return _runner(rows[0]) if rows else None

    def see(self, machine: Machine) -> None:
        """Keeps what a machine is now; what an operator wants of it stays.

        Machines that nobody has seen for long and nobody wants anything of are forgotten: a
        container has another name each time.
        """
        table = tables.runner.c
        seen = {"inventory": as_text(machine), "seen_at": self._db.now()}
        with self._db.transaction() as connection:
            known = connection.execute(
                update(tables.runner).where(table.name == machine.name).values(seen)
            )
            connection.execute(
                delete(tables.runner).where(
                    table.seen_at < self._db.now(-FORGOTTEN_S), table.state == RunnerState.ACTIVE
                )
            )
        if known.rowcount == 0:
            values = {"name": machine.name, "state": RunnerState.ACTIVE, **seen}
            try:
                with self._db.transaction() as connection:
                    connection.execute(insert(tables.runner).values(values))
            except DuplicateKey:
                return

    def want(self, name: str, state: RunnerState, why: str) -> bool:
        """Says what an operator wants of a machine; False if none of that name was seen."""
        table = tables.runner.c
        with self._db.transaction() as connection:
            known = connection.execute(
                update(tables.runner).where(table.name == name).values(state=state, why=why or None)
            )
        return known.rowcount == 1


def _runner(row: RowMapping) -> Runner:
    return Runner(
        machine=as_value(row["inventory"], Machine),
        state=RunnerState(row["state"]),
        seen_at=row["seen_at"],
        why=row["why"] or "",
    )
