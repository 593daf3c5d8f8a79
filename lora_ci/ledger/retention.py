"""What of the past is still needed, and the rows that are not.

A digest (sha256, 64 hex digits) anywhere in a row names an artifact, or a record by its
fingerprint. So what a row that is kept names is kept, and what that names, and so on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, RowMapping, Select, and_, delete, func, insert, select

from lora_ci.config.matrix import DIGEST_LETTERS, matrix_types
from lora_ci.core.shard import parse_shard
from lora_ci.core.step import Stage, StepResult
from lora_ci.ledger import tables
from lora_ci.ledger.database import Database
from lora_ci.ledger.queue import StepState

DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
# What names the folder of a step or of an input: the first half of a digest.
HALF = re.compile(r"[0-9a-f]{32}")
ADAPTER_SUFFIX = ".safetensors"
AT_ONCE = 500

IsGone = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Pin:
    """What no clean-up takes away: an artifact, or a record and what it names."""

    sha256: str
    why: str
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Needed:
    """`digests` are all that is named by what is kept, `lapsed` the records that are not kept."""

    digests: frozenset[str]
    lapsed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Old:
    """What is remembered of a record that nothing has named yet."""

    fingerprint: str
    adapter: str | None
    made: tuple[str, ...]


@dataclass(slots=True)
class _Named:
    """Grows until nothing that is kept names anything new."""

    digests: set[str] = field(default_factory=set)
    released: set[str] = field(default_factory=set)

    def note(self, *texts: str | None) -> None:
        """Keeps all that the texts name."""
        for text in texts:
            if text:
                self.digests.update(DIGEST.findall(text))

    def reaches(self, old: _Old) -> bool:
        """True for a record that is named, that made a named adapter, or judges a released one."""
        return (
            old.fingerprint in self.digests
            or old.adapter in self.released
            or any(sha256 in self.digests for sha256 in old.made)
        )


class Retention:
    """The part of a ledger that may go. Nothing here takes away what is unfinished."""

    def __init__(self, database: Database, is_gone: IsGone) -> None:
        """`is_gone` tells of a run's owner whether that process is known to be no more."""
        self._db = database
        self._is_gone = is_gone

    def needed(self, since: str) -> Needed:
        """What is needed of everything, if what ended before a moment is not for its own sake.

        For their own sake: releases; what runs, steps and attempts that are kept name; the newest
        result of each stage and outcome of each LoRA that no matrix made; judgements that people
        voted on; and pins.
        """
        named = _Named()
        named.digests.update(pin.sha256 for pin in self.pins())
        voted = self._db.rows(select(tables.vote.c.fingerprint).distinct())
        named.digests.update(row["fingerprint"] for row in voted)
        self._note_runs(named, since)
        old = self._note_records(named, since)
        while reached := [one for one in old.values() if named.reaches(one)]:
            for fingerprint, texts in self._texts([one.fingerprint for one in reached]):
                named.digests.add(fingerprint)
                named.note(*texts)
            for one in reached:
                # It may be gone by now; it is looked at once all the same.
                del old[one.fingerprint]
        return Needed(digests=frozenset(named.digests), lapsed=tuple(old))

    def _note_runs(self, named: _Named, since: str) -> None:
        lapsed = set(self.lapsed_runs(since))
        run, step, attempt = tables.run.c, tables.step.c, tables.attempt.c
        for row in each(self._db, select(run.id, run.view), run.id):
            if row["id"] not in lapsed:
                named.note(row["view"])
        steps = select(step.id, step.run_id, step.fingerprint, step.parts, step.spec, step.result)
        for row in each(self._db, steps, step.id):
            if row["run_id"] not in lapsed:
                named.digests.add(row["fingerprint"])
                named.note(row["parts"], row["spec"], row["result"])
        logs = (
            select(attempt.key, attempt.log_sha256, step.run_id)
            .join_from(tables.attempt, tables.step, step.id == attempt.step_id)
            .where(attempt.log_sha256.is_not(None))
        )
        for row in each(self._db, logs, attempt.key):
            if row["run_id"] not in lapsed:
                named.digests.add(row["log_sha256"])

    def _note_records(self, named: _Named, since: str) -> dict[str, _Old]:
        """Notes what records name that are kept for their own sake; returns the others."""
        newest, old = self._newest(), dict[str, _Old]()
        for row in each(self._db, select(tables.record), tables.record.c.fingerprint):
            fingerprint, adapter = row["fingerprint"], _adapter(row["parts"])
            if row["stage"] == Stage.DEPLOY and adapter:
                named.released.add(adapter)
            if row["finished_at"] >= since or row["stage"] == Stage.DEPLOY or fingerprint in newest:
                named.digests.add(fingerprint)
                named.note(row["parts"], row["result"])
            else:
                made = _adapters(row["result"]) if row["stage"] == Stage.TRAIN else ()
                old[fingerprint] = _Old(fingerprint=fingerprint, adapter=adapter, made=made)
        return old

    def _newest(self) -> set[str]:
        """The newest record of each stage and outcome of each LoRA that no matrix made.

        What shards made stands in the adapter that was merged from it.
        """
        table = tables.record.c
        key = table.repo, table.lora, table.stage, table.outcome
        last = select(*key, func.max(table.finished_at).label("at")).group_by(*key).subquery()
        same = and_(
            *(column == last.c[column.name] for column in key), table.finished_at == last.c.at
        )
        rows = self._db.rows(select(table.fingerprint, table.lora).join(last, same))
        return {
            row["fingerprint"]
            for row in rows
            if not (_of_matrix().search(row["lora"]) or parse_shard(row["lora"]))
        }

    def _texts(self, fingerprints: Sequence[str]) -> Iterator[tuple[str, tuple[str, str]]]:
        table = tables.record.c
        for some in in_parts(fingerprints):
            query = select(table.fingerprint, table.parts, table.result)
            for row in self._db.rows(query.where(table.fingerprint.in_(some))):
                yield row["fingerprint"], (row["parts"], row["result"])

    def has_records(self) -> bool:
        """False for a ledger that knows of nothing that was made."""
        return bool(self._db.rows(select(tables.record.c.fingerprint).limit(1)))

    def lapsed_runs(self, before: str) -> tuple[str, ...]:
        """Runs that began before a moment, with all their steps ended and nobody at them."""
        run = tables.run.c
        query = select(run.id, run.outcome, run.owner).where(*_over(before))
        return tuple(
            row["id"]
            for row in self._db.rows(query)
            if row["outcome"] or row["owner"] is None or self._is_gone(row["owner"])
        )

    def in_use(self) -> tuple[str | None, frozenset[str]]:
        """Since when the oldest unfinished step is worked at, and the folders that such need.

        Their names are the first half of a digest.
        """
        step, attempt, halves = tables.step.c, tables.attempt.c, set[str]()
        unfinished = step.state != StepState.ENDED
        query = select(step.id, step.fingerprint, step.folder, step.spec).where(unfinished)
        for row in each(self._db, query, step.id):
            for name in ("fingerprint", "folder", "spec"):
                halves.update(HALF.findall(row[name]))
        first = (
            select(func.min(attempt.started_at).label("at"))
            .join_from(tables.attempt, tables.step, step.id == attempt.step_id)
            .where(unfinished)
        )
        return self._db.rows(first)[0]["at"], frozenset(halves)

    def finished_before(self, fingerprints: Sequence[str], moment: str) -> tuple[str, ...]:
        """Those of the records that were finished before a moment."""
        table, found = tables.record.c, list[str]()
        for some in in_parts(fingerprints):
            old = (table.fingerprint.in_(some), table.finished_at < moment)
            rows = self._db.rows(select(table.fingerprint).where(*old))
            found += [row["fingerprint"] for row in rows]
        return tuple(found)

    # What goes

    def drop_runs(self, run_ids: Sequence[str], before: str) -> int:
        """Removes runs that are still over, with their steps and attempts; how many."""
        run, step, attempt = tables.run.c, tables.step.c, tables.attempt.c
        dropped = 0
        for some in in_parts(run_ids):
            with self._db.transaction() as connection:
                over = select(run.id).where(run.id.in_(some), *_over(before)).with_for_update()
                ids = list(connection.execute(over).scalars())
                steps = select(step.id).where(step.run_id.in_(ids))
                connection.execute(delete(tables.attempt).where(attempt.step_id.in_(steps)))
                connection.execute(delete(tables.step).where(step.run_id.in_(ids)))
                connection.execute(delete(tables.run).where(run.id.in_(ids)))
            dropped += len(ids)
        return dropped

    def drop_records(self, fingerprints: Sequence[str], before: str) -> int:
        """Removes those records that were finished before a moment; how many."""
        table, dropped = tables.record.c, 0
        for some in in_parts(fingerprints):
            with self._db.transaction() as connection:
                old = (table.fingerprint.in_(some), table.finished_at < before)
                dropped += connection.execute(delete(tables.record).where(*old)).rowcount
        return dropped

    # Pins

    def pins(self) -> tuple[Pin, ...]:
        """All pins, oldest first."""
        table = tables.pin.c
        rows = self._db.rows(select(tables.pin).order_by(table.at, table.sha256))
        return tuple(Pin(row["sha256"], row["why"], row["at"]) for row in rows)

    def pin(self, sha256: str, why: str) -> None:
        """Keeps an artifact, or a record by its fingerprint; a second pin tells the newer why."""
        values = {"sha256": sha256, "why": why, "at": self._db.now()}
        with self._db.transaction() as connection:
            self._db.alone(connection, f"pin {sha256}")
            connection.execute(delete(tables.pin).where(tables.pin.c.sha256 == sha256))
            connection.execute(insert(tables.pin).values(values))

    def unpin(self, sha256: str) -> bool:
        """Lets go of it; False if it was not pinned."""
        with self._db.transaction() as connection:
            gone = connection.execute(delete(tables.pin).where(tables.pin.c.sha256 == sha256))
            return gone.rowcount == 1

    def records_called(self, beginning: str) -> tuple[str, ...]:
        """The fingerprints of records that begin so."""
        table = tables.record.c.fingerprint
        rows = self._db.rows(select(table).where(table.startswith(beginning, autoescape=True)))
        return tuple(row["fingerprint"] for row in rows)


def each(database: Database, query: Select[Any], key: ColumnElement[Any]) -> Iterator[RowMapping]:
    """The rows of a query in the order of a unique column, some at a time.

    What is added meanwhile may be missed: it is new, and what it names was used just now.
    """
    last: Any = None
    while True:
        some = query if last is None else query.where(key > last)
        rows = database.rows(some.order_by(key).limit(AT_ONCE))
        yield from rows
        if len(rows) < AT_ONCE:
            return
        last = rows[-1][key.name]


def in_parts(values: Sequence[str]) -> Iterator[Sequence[str]]:
    """So many at once that every database takes them in one statement."""
    for first in range(0, len(values), AT_ONCE):
        yield values[first : first + AT_ONCE]


def _over(before: str) -> tuple[ColumnElement[bool], ...]:
    """True of runs that began before a moment and have no step that has not ended."""
    run, step = tables.run.c, tables.step.c
    open_steps = select(step.id).where(step.run_id == run.id, step.state != StepState.ENDED)
    return run.started_at < before, ~open_steps.exists()


@cache
def _of_matrix() -> re.Pattern[str]:
    """Finds names that a matrix made (`config.matrix.names`); the newest of many is not special."""
    keys = {part for key in matrix_types() for part in (key, key.rpartition(".")[2])}
    some = "|".join(map(re.escape, sorted(keys)))
    return re.compile(rf"\.({some})-|\.[0-9a-f]{{{DIGEST_LETTERS}}}$")


def _adapter(parts: str) -> str | None:
    """The adapter that a result is about, by the parts of its fingerprint."""
    try:
        found = msgspec.json.decode(parts, type=dict[str, Any]).get("adapter")
    except msgspec.DecodeError:
        return None
    return found if isinstance(found, str) and DIGEST.fullmatch(found) else None


def _adapters(result: str) -> tuple[str, ...]:
    """The adapter files that a training made."""
    try:
        made = msgspec.json.decode(result, type=StepResult).artifacts
    except msgspec.DecodeError:
        return ()
    return tuple(artifact.sha256 for artifact in made if artifact.name.endswith(ADAPTER_SUFFIX))
