"""All rows of a ledger as lines of JSON, and back: into any database, and from older schemas."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import (
    Connection,
    LargeBinary,
    MetaData,
    Table,
    delete,
    func,
    insert,
    select,
    text,
    update,
)

from lora_ci.core.errors import InfrastructureError, IntegrityError, UsageError
from lora_ci.core.signals import signals_wait
from lora_ci.core.step import Outcome, StepResult
from lora_ci.ledger import tables
from lora_ci.ledger.database import Database, as_text
from lora_ci.ledger.engine import (
    UPGRADING,
    UnknownSchemaError,
    bare_engine,
    migrate,
    schema_version,
    shown,
)
from lora_ci.ledger.jobs import JobState
from lora_ci.ledger.queue import AttemptState, StepState
from lora_ci.ledger.retention import DIGEST

AT_ONCE = 500
SUFFIX = ".jsonl"
# What a process holds while it lives says nothing later.
LEFT_OUT = frozenset({"lease"})
VERSIONS = "alembic_version"
# How values name an artifact; a bare digest may be a fingerprint.
ARTIFACT = re.compile(rf'"sha256":"({DIGEST.pattern})"')

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dumped:
    """What was written: the rows of each table, and what they name.

    `artifacts` are named as such; among `digests` are fingerprints too.
    """

    schema: str
    rows: Mapping[str, int]
    sha256: Mapping[str, str]
    artifacts: frozenset[str]
    digests: frozenset[str]


def dump(database: Database, folder: Path, progress: Progress) -> Dumped:
    """Writes `<table>.jsonl` for each table, all as of one moment, while others go on.

    Raises:
        OSError: the disk is full or refuses.
        InfrastructureError: the database cannot be read.
    """
    rows, digests = dict[str, int](), dict[str, str]()
    artifacts, named = set[str](), set[str]()
    wanted = [table for table in tables.metadata.sorted_tables if table.name not in LEFT_OUT]
    with database.snapshot() as connection:
        with signals_wait():
            schema = schema_version(connection) or ""
            counts = {t.name: connection.execute(_count(t)).scalar() or 0 for t in wanted}
        done, total = 0, sum(counts.values())
        for table in wanted:
            count, digest = 0, hashlib.sha256()
            with (folder / f"{table.name}{SUFFIX}").open("wb") as file:
                for line in _lines(connection, table):
                    file.write(line)
                    digest.update(line)
                    words = line.decode()
                    named.update(DIGEST.findall(words))
                    # A pin may be of a record.
                    if table is not tables.pin:
                        artifacts.update(ARTIFACT.findall(words.replace('\\"', '"')))
                    count += 1
                    if count % AT_ONCE == 0:
                        progress("rows", done + count, total)
                file.flush()
                os.fsync(file.fileno())
            rows[table.name], digests[table.name] = count, digest.hexdigest()
            done += count
            progress("rows", done, total)
        with signals_wait():
            logs = select(tables.attempt.c.log_sha256).distinct()
            artifacts.update(filter(None, connection.execute(logs).scalars()))
    return Dumped(
        schema=schema,
        rows=rows,
        sha256=digests,
        artifacts=frozenset(artifacts),
        digests=frozenset(named),
    )


def _lines(connection: Connection, table: Table) -> Iterator[bytes]:
    """The rows of a table as lines, in the order of its key."""
    with signals_wait():
        query = select(table).order_by(*table.primary_key)
        found = connection.execute(query, execution_options={"yield_per": AT_ONCE})
    while True:
        # A signal inside the driver would come out as some other error of its.
        with signals_wait():
            some = found.mappings().fetchmany(AT_ONCE)
        for row in some:
            yield msgspec.json.encode(dict(row)) + b"\n"
        if not some:
            return


def _count(table: Table) -> Any:
    return select(func.count()).select_from(table)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What was read back; `interrupted` steps had not ended when the rows were written."""

    rows: Mapping[str, int]
    interrupted: int


def load(
    url: str, folder: Path, schema: str, rows: Mapping[str, int], *, now: str, progress: Progress
) -> Loaded:
    """Reads rows that `dump` wrote into an empty ledger, in one transaction.

    `rows` says how many of each table there must be. They come in at the schema that they had,
    and are upgraded as any ledger is. What had not ended is ended as interrupted.

    Raises:
        UsageError: the ledger has rows, or the URL is wrong.
        InfrastructureError: the schema is not known, or the database cannot be used.
        IntegrityError: the rows are not what they should be.
    """
    engine = bare_engine(url)
    try:
        with engine.begin() as connection:
            with signals_wait():
                if engine.dialect.name == "postgresql":
                    # Whoever opens the ledger meanwhile waits, and finds it upgraded.
                    connection.execute(
                        text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADING}
                    )
                _make_empty(connection, shown(engine.url))
                _migrate(connection, schema)
                there = MetaData()
                there.reflect(connection, only=lambda name, _: name != VERSIONS)
            if unknown := rows.keys() - there.tables.keys():
                message = f"{folder}: schema {schema} has no table {', '.join(sorted(unknown))}"
                raise IntegrityError(message)
            done, total = 0, sum(rows.values())
            for table in (t for t in there.sorted_tables if t.name in rows):
                file = folder / f"{table.name}{SUFFIX}"
                for count in _insert(connection, table, file):
                    done += count
                    progress("rows", done, total)
            with signals_wait():
                _check_counts(connection, there, rows, folder)
                migrate(connection)
                interrupted = _end_all(connection, now)
                if engine.dialect.name == "postgresql":
                    _set_counters(connection)
    finally:
        engine.dispose()
    return Loaded(rows=rows, interrupted=interrupted)


def check_empty(url: str) -> None:
    """Raises UsageError for a ledger that has rows; one that is not there is empty."""
    engine = bare_engine(url)
    try:
        with signals_wait(), engine.connect() as connection:
            _check_empty(connection, shown(engine.url))
    finally:
        engine.dispose()


def _make_empty(connection: Connection, place: str) -> None:
    """Drops the tables of a ledger that has no rows. Raises UsageError for one that has some."""
    _check_empty(connection, place).drop_all(connection)


def _check_empty(connection: Connection, place: str) -> MetaData:
    ours = {table.name for table in tables.metadata.sorted_tables} | {VERSIONS}
    there = MetaData()
    there.reflect(connection, only=lambda name, _: name in ours)
    for table in there.sorted_tables:
        if table.name != VERSIONS and connection.execute(select(table).limit(1)).first():
            message = f"the ledger {place} has rows in `{table.name}`: a restore needs an empty one"
            hint = "next: give another --state FOLDER or --ledger-url, or move this one aside"
            raise UsageError(message, hint=hint)
    return there


def _migrate(connection: Connection, schema: str) -> None:
    try:
        migrate(connection, schema)
    except UnknownSchemaError as error:
        raise InfrastructureError(
            f"the backup has schema {schema}, which this lora-ci does not know",
            hint="next: pip install --upgrade lora-ci",
        ) from error


def _insert(connection: Connection, table: Table, file: Path) -> Iterator[int]:
    """Inserts the lines of a file, some at a time; yields how many."""
    binary = [c.name for c in table.columns if isinstance(c.type, LargeBinary)]
    some: list[dict[str, Any]] = []
    with file.open("rb") as lines:
        for line in lines:
            some.append(_row(line, binary, file))
            if len(some) == AT_ONCE:
                yield _put(connection, table, some)
    if some:
        yield _put(connection, table, some)


def _put(connection: Connection, table: Table, some: list[dict[str, Any]]) -> int:
    with signals_wait():
        connection.execute(insert(table), some)
    count = len(some)
    some.clear()
    return count


def _row(line: bytes, binary: list[str], file: Path) -> dict[str, Any]:
    try:
        row = msgspec.json.decode(line, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise IntegrityError(f"{file}: a line is no row ({error})") from error
    for name in binary:
        if row.get(name) is not None:
            row[name] = base64.b64decode(row[name])
    return row


def _check_counts(
    connection: Connection, there: MetaData, rows: Mapping[str, int], folder: Path
) -> None:
    for name, expected in rows.items():
        found = connection.execute(_count(there.tables[name])).scalar()
        if found != expected:
            message = f"{folder / name}{SUFFIX}: {found} rows, expected {expected}"
            raise IntegrityError(message)


def _end_all(connection: Connection, now: str) -> int:
    """Ends what had not ended: of the processes that were at it nothing is known here."""
    step, attempt, run, job = (t.c for t in (tables.step, tables.attempt, tables.run, tables.job))
    result = as_text(StepResult(outcome=Outcome.INTERRUPTED))
    ended = connection.execute(
        update(tables.step)
        .where(step.state != StepState.ENDED)
        .values(state=StepState.ENDED, result=result, ended_at=now, stopping=None)
    )
    connection.execute(
        update(tables.attempt)
        .where(attempt.state == AttemptState.OPEN)
        .values(state=AttemptState.ENDED, outcome=Outcome.INTERRUPTED, ended_at=now)
    )
    connection.execute(
        update(tables.run).where(run.outcome.is_(None)).values(outcome=Outcome.INTERRUPTED)
    )
    connection.execute(update(tables.run).values(owner=None))
    connection.execute(delete(tables.lease))
    # The bot starts a job again that was under way, unless it was about to be ended.
    running = job.state == JobState.RUNNING
    connection.execute(
        update(tables.job)
        .where(running, job.stopping.is_not(None))
        .values(state=JobState.DONE, note=job.stopping, handle=None, ended_at=now)
    )
    connection.execute(
        update(tables.job).where(running).values(state=JobState.WAITING, handle=None, due_at=now)
    )
    return ended.rowcount


def _set_counters(connection: Connection) -> None:
    """PostgreSQL counts ids on from where it was, not from the rows that came with theirs."""
    for table in tables.metadata.sorted_tables:
        column = table.autoincrement_column
        if column is None:
            continue
        last = connection.execute(select(func.max(column))).scalar()
        if last:
            connection.execute(
                text("SELECT setval(pg_get_serial_sequence(:table, :column), :last)"),
                {"table": table.name, "column": column.name, "last": last},
            )
