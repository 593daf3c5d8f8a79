"""What the bot runs: for each pull request one process after the other."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, insert, or_, select, update

from lora_ci.ledger.database import Database
from lora_ci.ledger.tables import job


class JobState(StrEnum):
    """A job goes forward, or back to waiting for another attempt."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job to be added; `wanted` is what its runner understands.

    One that is `following` pushes is not added where its like is under way, and ends those of
    other heads of its pull request.
    """

    repo: str
    number: int | None
    head: str
    wanted: str
    following: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """The jobs of a pull request are to be ended, or of a repository (`number` is None)."""

    repo: str
    number: int | None
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as the ledger has it.

    `handle` names its process, `started_as` is what the repository was called when that was
    started, `stopping` says why it is to end, `run_id` is set once it ended
    and only has to be shown again.
    """

    id: int
    delivery: str
    repo: str
    started_as: str
    number: int | None
    head: str
    wanted: str
    state: JobState
    stopping: str | None
    handle: str | None
    run_id: str | None
    attempts: int
    note: str | None


class Jobs:
    """Each transition is one conditional UPDATE in one transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def next(self) -> Job | None:
        """The oldest job that is due and whose pull request has none under way.

        What belongs to no pull request waits for its like of the same repository.
        """
        other = job.alias()
        same = and_(
            other.c.repo == job.c.repo,
            or_(
                other.c.number == job.c.number,
                and_(other.c.number.is_(None), job.c.number.is_(None)),
            ),
        )
        busy = select(other.c.id).where(other.c.state == JobState.RUNNING, same).exists()
        query = (
            select(job)
            .where(job.c.state == JobState.WAITING, job.c.due_at <= self._db.now(), ~busy)
            .order_by(job.c.id)
            .limit(1)
        )
        rows = self._db.rows(query)
        return _job(rows[0]) if rows else None

    def running(self) -> tuple[Job, ...]:
        """The jobs that are under way, oldest first."""
        query = select(job).where(job.c.state == JobState.RUNNING).order_by(job.c.id)
        return tuple(map(_job, self._db.rows(query)))

    def under_way(self, repo: str, number: int) -> tuple[Job, ...]:
        """The jobs of a pull request that run or wait, oldest first."""
        query = (
            select(job).where(*_of(repo, number), job.c.state != JobState.DONE).order_by(job.c.id)
        )
        return tuple(map(_job, self._db.rows(query)))

    def newest(self, repo: str, head: str) -> Job | None:
        """The newest job that ran a commit."""
        query = (
            select(job)
            .where(job.c.repo == repo, job.c.head == head)
            .order_by(job.c.id.desc())
            .limit(1)
        )
        rows = self._db.rows(query)
        return _job(rows[0]) if rows else None

    def repos(self) -> tuple[str, ...]:
        """The repositories that jobs were of."""
        query = select(job.c.repo).distinct().order_by(job.c.repo)
        return tuple(row["repo"] for row in self._db.rows(query))

    def mark_running(self, waiting: Job) -> bool:
        """waiting → running; False if it was ended meanwhile."""
        return self._move(
            waiting,
            JobState.WAITING,
            state=JobState.RUNNING,
            started_as=waiting.repo,
            attempts=waiting.attempts + 1,
        )

    def note_handle(self, running: Job, handle: str) -> None:
        """Keeps what the process is called, so that another server can adopt it."""
        self._move(running, JobState.RUNNING, handle=handle)

    def again(self, running: Job, note: str, *, delay_s: float = 0, counted: bool = True) -> bool:
        """running → waiting: another attempt is to be made."""
        attempts = running.attempts if counted else running.attempts - 1
        return self._wait_again(running, note, delay_s, attempts=attempts)

    def show_again(self, running: Job, note: str, run_id: str, *, delay_s: float) -> bool:
        """running → waiting: it ended, and only its result is to be shown again."""
        return self._wait_again(running, note, delay_s, run_id=run_id, attempts=0)

    def _wait_again(self, running: Job, note: str, delay_s: float, **values: Any) -> bool:
        return self._move(
            running,
            JobState.RUNNING,
            state=JobState.WAITING,
            note=note,
            handle=None,
            due_at=self._db.now(delay_s),
            **values,
        )

    def finish(self, running: Job, note: str) -> bool:
        """running → done."""
        values = {"note": note, "handle": None, "ended_at": self._db.now()}
        return self._move(running, JobState.RUNNING, state=JobState.DONE, **values)

    def _move(self, moved: Job, expected: JobState, **values: object) -> bool:
        with self._db.transaction() as connection:
            done = connection.execute(
                update(job).where(job.c.id == moved.id, job.c.state == expected).values(values)
            )
            return done.rowcount == 1


def add_job(connection: Connection, delivery: str, new: NewJob, now: str) -> None:
    """Adds a job as the rules of `NewJob` say."""
    if new.following:
        same = [job.c.repo == new.repo, job.c.head == new.head]
        if new.number is None:
            same += [job.c.number.is_(None), job.c.wanted == new.wanted]
        else:
            whose = _of(new.repo, new.number)
            why = f"a newer push: {new.head[:7]}"
            halt_jobs(connection, (*whose, job.c.head != new.head), why, now)
            same.append(job.c.number == new.number)
        under_way = (job.c.state != JobState.DONE, job.c.stopping.is_(None))
        if connection.execute(select(job.c.id).where(*same, *under_way)).first():
            return
    connection.execute(
        insert(job).values(
            delivery=delivery,
            repo=new.repo,
            number=new.number,
            head=new.head,
            wanted=new.wanted,
            state=JobState.WAITING,
            attempts=0,
            due_at=now,
            created_at=now,
        )
    )


def halt(connection: Connection, wanted: Halt, now: str) -> None:
    """Ends the jobs of a pull request or a repository."""
    repo, number = wanted.repo, wanted.number
    whose = (job.c.repo == repo,) if number is None else _of(repo, number)
    halt_jobs(connection, whose, wanted.why, now)


def halt_jobs(
    connection: Connection, whose: tuple[ColumnElement[bool], ...], why: str, now: str
) -> None:
    """waiting → done; one that runs is to be stopped, and keeps the first reason."""
    connection.execute(
        update(job)
        .where(*whose, job.c.state == JobState.WAITING)
        .values(state=JobState.DONE, note=why, ended_at=now)
    )
    connection.execute(
        update(job)
        .where(*whose, job.c.state == JobState.RUNNING, job.c.stopping.is_(None))
        .values(stopping=why)
    )


def _of(repo: str, number: int) -> tuple[ColumnElement[bool], ...]:
    return job.c.repo == repo, job.c.number == number


def _job(row: RowMapping) -> Job:
    return Job(
        id=row["id"],
        delivery=row["delivery"],
        repo=row["repo"],
        started_as=row["started_as"] or row["repo"],
        number=row["number"],
        head=row["head"],
        wanted=row["wanted"],
        state=JobState(row["state"]),
        stopping=row["stopping"],
        handle=row["handle"],
        run_id=row["run_id"],
        attempts=row["attempts"],
        note=row["note"],
    )
