"""Runs, records and attempts as flat rows, for people's own analysis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from sqlalchemy import func, select

from lora_ci.core.event import Event
from lora_ci.core.step import StepResult
from lora_ci.ledger import tables
from lora_ci.ledger.database import Database, as_value
from lora_ci.ledger.retention import each

Row = dict[str, Any]

# All columns, in the order of a table; a row has those that its kind knows.
COLUMNS = (
    *("kind", "id", "repo", "lora", "stage", "outcome", "started_at", "ended_at", "gpu_s"),
    *("run_id", "fingerprint", "commit", "event", "executor", "place", "state", "total_s"),
    *("artifact_bytes", "metrics"),
)


def export(database: Database, since: str) -> Iterator[Row]:
    """First the runs, then the records, then the attempts since a moment; times in UTC.

    `gpu_s` are the GPU-seconds of attempts that have ended.
    """
    yield from _runs(database, since)
    yield from _records(database, since)
    yield from _attempts(database, since)


def _runs(database: Database, since: str) -> Iterator[Row]:
    run, step, attempt = tables.run.c, tables.step.c, tables.attempt.c
    used = (
        select(func.sum(attempt.gpu_s))
        .join_from(tables.attempt, tables.step, step.id == attempt.step_id)
        .where(step.run_id == run.id)
        .scalar_subquery()
    )
    last = select(func.max(step.ended_at)).where(step.run_id == run.id).scalar_subquery()
    own = (run.id, run.event, run.started_at, run.outcome)
    query = select(*own, used.label("gpu_s"), last.label("ended_at"))
    for row in each(database, query.where(run.started_at >= since), run.id):
        event = as_value(row["event"], Event)
        yield {
            "kind": "run",
            "id": row["id"],
            "repo": event.repo,
            "outcome": row["outcome"],
            "started_at": row["started_at"],
            "ended_at": row["ended_at"],
            "gpu_s": row["gpu_s"] or 0.0,
            "commit": event.head,
            "event": event.kind,
        }


def _records(database: Database, since: str) -> Iterator[Row]:
    table = tables.record.c
    query = select(tables.record).where(table.finished_at >= since)
    for row in each(database, query, table.fingerprint):
        result = as_value(row["result"], StepResult)
        yield {
            "kind": "record",
            "id": row["fingerprint"],
            "repo": row["repo"],
            "lora": row["lora"],
            "stage": row["stage"],
            "outcome": row["outcome"],
            "ended_at": row["finished_at"],
            "run_id": row["run_id"],
            "fingerprint": row["fingerprint"],
            "commit": row["git_commit"],
            "total_s": result.timings_s.get("total"),
            "artifact_bytes": sum(artifact.size_bytes for artifact in result.artifacts),
            "metrics": dict(result.metrics),
        }


def _attempts(database: Database, since: str) -> Iterator[Row]:
    attempt, step = tables.attempt.c, tables.step.c
    about = (step.repo, step.lora, step.stage, step.run_id, step.fingerprint, step.git_commit)
    query = (
        select(tables.attempt, *about)
        .join_from(tables.attempt, tables.step, step.id == attempt.step_id)
        .where(attempt.started_at >= since)
    )
    for row in each(database, query, attempt.key):
        yield {
            "kind": "attempt",
            "id": row["key"],
            "repo": row["repo"],
            "lora": row["lora"],
            "stage": row["stage"],
            "outcome": row["outcome"],
            "started_at": row["started_at"],
            "ended_at": row["ended_at"],
            "gpu_s": row["gpu_s"],
            "run_id": row["run_id"],
            "fingerprint": row["fingerprint"],
            "commit": row["git_commit"],
            "executor": row["executor"],
            "place": msgspec.json.decode(row["place"]),
            "state": row["state"],
        }
