"""What became of the steps of a run, attempt by attempt: for people who look at it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import RowMapping, select

from lora_ci.core.event import Event
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.plan import Action, Decision
from lora_ci.core.run import RunView
from lora_ci.core.step import Outcome, Stage
from lora_ci.ledger import tables
from lora_ci.ledger.database import Database, as_value
from lora_ci.ledger.queue import StepState

# SQLite takes some thousand values in one statement.
AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """A run and who moves it on; `beat` grows as long as somebody does."""

    id: str
    event: Event
    started_at: str
    outcome: Outcome | None
    owner: str | None
    beat: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStory:
    """One execution of a step; `ended_at` and `outcome` are None while it goes on.

    `log_sha256` is what all attempts in the step's folder had printed by its end, None where
    nothing was kept.
    """

    number: int
    executor: str
    handle: str | None
    place: Mapping[str, Any]
    started_at: str
    ended_at: str | None
    outcome: Outcome | None
    gpu_s: float
    log_sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepStory:
    """A step and its attempts, oldest first. `twin` is another run that does the same work now."""

    id: int
    lora: str
    stage: Stage
    state: StepState
    folder: Path
    queued_at: str
    due_at: str
    ended_at: str | None
    stopping: str | None
    outcome: Outcome | None
    findings: tuple[Finding, ...]
    attempts: tuple[AttemptStory, ...]
    twin: str | None = None

    @property
    def gpu_s(self) -> float:
        """GPU-seconds of the attempts that have ended."""
        return sum(attempt.gpu_s for attempt in self.attempts)

    @property
    def why(self) -> str | None:
        """What is wrong first of all; None for a step that passed, or says nothing."""
        if self.outcome in (None, Outcome.PASSED) or not self.findings:
            return None
        errors = (f for f in self.findings if f.severity is Severity.ERROR)
        first = next(errors, self.findings[0])
        return f"{first.location()}: {first.message}".removeprefix(": ")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBrief:
    """A step as whoever looks at many, often, wants to know it."""

    id: int
    lora: str
    stage: Stage
    state: StepState
    folder: Path
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """The head of a result; its details may be large."""

    outcome: Outcome
    findings: tuple[Finding, ...] = ()


class Attempts:
    """Reads; changes nothing."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def run(self, run_id: str | None = None) -> RunState | None:
        """A run; the newest if none is named."""
        table = tables.run.c
        columns = table.id, table.event, table.started_at, table.outcome, table.owner, table.beat
        query = select(*columns).order_by(table.started_at.desc(), table.id.desc()).limit(1)
        rows = self._db.rows(query if run_id is None else query.where(table.id == run_id))
        if not rows:
            return None
        row = rows[0]
        return RunState(
            id=row["id"],
            event=as_value(row["event"], Event),
            started_at=row["started_at"],
            outcome=Outcome(row["outcome"]) if row["outcome"] else None,
            owner=row["owner"],
            beat=row["beat"],
        )

    def planned(self, run_id: str) -> tuple[Decision, ...]:
        """What a run that has not ended was to do when it began, steps of its queue among it."""
        table = tables.run.c
        rows = self._db.rows(select(table.view).where(table.id == run_id, table.outcome.is_(None)))
        view = as_value(rows[0]["view"], RunView) if rows and rows[0]["view"] else None
        decisions = (step.decision for step in view.steps) if view else ()
        return tuple(d for d in decisions if d.action in (Action.RUN, Action.WAIT))

    def steps(
        self,
        run_id: str,
        *,
        lora: str | None = None,
        stage: Stage | None = None,
        ids: Collection[int] | None = None,
    ) -> tuple[StepStory, ...]:
        """The steps of a run (all, or those named), in the order in which they were begun."""
        table = tables.step.c
        columns = (
            *(table.id, table.lora, table.stage, table.fingerprint, table.state, table.folder),
            *(table.queued_at, table.due_at, table.ended_at, table.stopping, table.result),
        )
        query = select(*columns).where(table.run_id == run_id).order_by(table.id)
        query = query if lora is None else query.where(table.lora == lora)
        query = query if stage is None else query.where(table.stage == stage)
        query = query if ids is None else query.where(table.id.in_(ids))
        rows = self._db.rows(query)
        attempts = self._attempts([row["id"] for row in rows])
        waiting = [r["fingerprint"] for r in rows if r["state"] == StepState.WAITING]
        twins = self._twins(run_id, waiting)
        return tuple(_step(row, attempts[row["id"]], twins.get(row["fingerprint"])) for row in rows)

    def briefs(
        self, run_id: str, *, lora: str | None = None, stage: Stage | None = None
    ) -> tuple[StepBrief, ...]:
        """The same of many, often: no result is read."""
        table = tables.step.c
        columns = (table.id, table.lora, table.stage, table.state, table.folder, table.attempts)
        query = select(*columns).where(table.run_id == run_id).order_by(table.id)
        query = query if lora is None else query.where(table.lora == lora)
        query = query if stage is None else query.where(table.stage == stage)
        return tuple(
            StepBrief(
                id=row["id"],
                lora=row["lora"],
                stage=Stage(row["stage"]),
                state=StepState(row["state"]),
                folder=Path(row["folder"]),
                attempts=row["attempts"],
            )
            for row in self._db.rows(query)
        )

    def _attempts(self, step_ids: list[int]) -> dict[int, list[RowMapping]]:
        table, found = tables.attempt, defaultdict[int, list[RowMapping]](list)
        for some in _parts(step_ids):
            query = select(table).where(table.c.step_id.in_(some))
            for row in self._db.rows(query.order_by(table.c.started_at, table.c.key)):
                found[row["step_id"]].append(row)
        return found

    def _twins(self, run_id: str, fingerprints: list[str]) -> dict[str, str]:
        """Other runs that have these fingerprints at work now."""
        table, found = tables.step.c, dict[str, str]()
        for some in _parts(fingerprints):
            query = select(table.fingerprint, table.run_id).where(
                table.fingerprint.in_(some),
                table.state == StepState.RUNNING,
                table.run_id != run_id,
            )
            found |= {row["fingerprint"]: row["run_id"] for row in self._db.rows(query)}
        return found


def _parts(values: list[Any]) -> Iterable[list[Any]]:
    return (values[i : i + AT_ONCE] for i in range(0, len(values), AT_ONCE))


def _step(row: RowMapping, attempts: list[RowMapping], twin: str | None) -> StepStory:
    told = as_value(row["result"], _Told) if row["result"] else None
    return StepStory(
        id=row["id"],
        lora=row["lora"],
        stage=Stage(row["stage"]),
        state=StepState(row["state"]),
        folder=Path(row["folder"]),
        queued_at=row["queued_at"],
        due_at=row["due_at"],
        ended_at=row["ended_at"],
        stopping=row["stopping"],
        outcome=told.outcome if told else None,
        findings=told.findings if told else (),
        attempts=tuple(_attempt(row, number) for number, row in enumerate(attempts, 1)),
        twin=twin,
    )


def _attempt(row: RowMapping, number: int) -> AttemptStory:
    return AttemptStory(
        number=number,
        executor=row["executor"],
        handle=row["handle"],
        place=as_value(row["place"], dict[str, Any]),
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        outcome=Outcome(row["outcome"]) if row["outcome"] else None,
        gpu_s=row["gpu_s"],
        log_sha256=row["log_sha256"],
    )
