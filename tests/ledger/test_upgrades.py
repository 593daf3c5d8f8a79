"""A ledger of any earlier schema goes on where it stopped; one of a later schema is left alone."""

import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text

from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import ExitCode, InfrastructureError
from lora_ci.core.step import Outcome, Stage
from lora_ci.ledger import tables
from lora_ci.ledger.database import open_database
from lora_ci.ledger.engine import bare_engine, open_engine
from lora_ci.ledger.inbox import Inbox
from lora_ci.ledger.jobs import Jobs
from lora_ci.ledger.ledger import open_ledger
from lora_ci.ledger.queue import StepState
from tests.ledger.old_ledgers import fingerprint, make_old_ledger
from tests.ledgers import drop_database, new_database

OLD = ("0001", "0002", "0003")
OPEN = "import sys; from lora_ci.ledger.engine import open_engine; open_engine(sys.argv[1])"


@pytest.fixture
def url(ledger_kind, tmp_path):
    """A database with nothing in it."""
    url = new_database(tmp_path, ledger_kind)
    yield url
    drop_database(url)


@pytest.fixture(params=OLD)
def version(request) -> str:
    return request.param


def change(url: str, statement: str) -> None:
    engine = bare_engine(url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def everything(url: str) -> dict[str, list[str]]:
    """All tables and their rows."""
    engine = bare_engine(url)
    with engine.connect() as connection:
        names = inspect(connection).get_table_names()
        rows = {
            name: sorted(map(str, connection.execute(text(f'SELECT * FROM "{name}"'))))
            for name in names
        }
    engine.dispose()
    return rows


def test_the_migrations_make_the_tables(ledger_url):
    engine = open_engine(ledger_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, tables.metadata) == []
    engine.dispose()


def test_what_was_done_and_what_runs_is_there_after_an_upgrade(url, version):
    make_old_ledger(url, version)
    ledger = open_ledger(url, SystemClock())
    assert {run.id for run in ledger.recent_runs(5)} == {"run-1", "run-2"}
    assert [record.lora for record in ledger.passed("done", Stage.TRAIN)] == ["done"]
    result = ledger.queue.result("run-1", "done", Stage.TRAIN)
    assert result is not None
    assert result.outcome is Outcome.PASSED
    steps = {step.lora: (step.state, step.attempts) for step in ledger.queue.unfinished("run-1")}
    assert steps == {
        "waits": (StepState.WAITING, 0), "again": (StepState.WAITING, 2),
        "starts": (StepState.RUNNING, 1), "runs": (StepState.RUNNING, 2),
        "here": (StepState.RUNNING, 1),
    }  # fmt: skip
    assert [waiting.step.lora for waiting in ledger.queue.waiting()] == ["waits", "again"]
    attempts = {a.step.lora: a for a in ledger.queue.open_attempts()}
    assert {lora: (a.executor, a.handle) for lora, a in attempts.items()} == {
        "starts": ("local", None), "runs": ("local", "123:456"), "here": ("inline", "inline"),
    }  # fmt: skip
    # They go on to their ends, and what waits is begun.
    assert ledger.queue.finish(attempts["here"], result)
    assert ledger.find(fingerprint("here")) is not None
    assert ledger.queue.again(attempts["runs"], Outcome.ERROR, delay_s=0)
    waits = next(w.step for w in ledger.queue.waiting() if w.step.lora == "again")
    assert ledger.queue.begin([(waits, {})], executor="local")[0]
    ledger.close()


def test_the_bot_goes_on_after_an_upgrade(url):
    make_old_ledger(url, "0002")
    database = open_database(url, SystemClock())
    inbox, jobs = Inbox(database), Jobs(database)
    taken = inbox.take()
    assert taken is not None
    assert (taken.id, taken.payload) == ("d-1", b"\x00{}")
    assert inbox.approvers("team/loras", 7, "h" * 40) == ("ann",)
    assert [(job.number, job.handle) for job in jobs.running()] == [(7, "1:2")]
    waiting = jobs.next()
    assert waiting is not None
    assert waiting.number is None
    database.close()


def test_votes_are_there_after_an_upgrade(url):
    make_old_ledger(url, "0003")
    ledger = open_ledger(url, SystemClock())
    (vote,) = ledger.votes("f" * 64)
    assert (vote.voter, vote.seed) == ("Ann", 2**63 - 1)
    ledger.close()


def test_running_steps_know_their_folders_after_an_upgrade(tmp_path):
    url = new_database(tmp_path, "sqlite")
    make_old_ledger(url, "0003")
    ledger = open_ledger(url, SystemClock())
    for step in ledger.queue.unfinished("run-1"):
        assert step.folder == tmp_path / "steps" / step.fingerprint[:32]
    ledger.close()


@pytest.mark.slow
def test_processes_that_open_an_old_ledger_at_once_upgrade_it_once(url):
    make_old_ledger(url, "0001")
    both = [
        subprocess.Popen([sys.executable, "-c", OPEN, url], stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    told = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    ledger = open_ledger(url, SystemClock())
    assert len(ledger.queue.open_attempts()) == 3
    ledger.close()


def test_an_upgrade_that_fails_changes_nothing(url):
    make_old_ledger(url, "0003")
    change(url, "CREATE TABLE pin (x INTEGER)")
    before = everything(url)
    with pytest.raises(InfrastructureError, match="already exists"):
        open_ledger(url, SystemClock())
    assert everything(url) == before
    change(url, "DROP TABLE pin")
    ledger = open_ledger(url, SystemClock())
    assert len(ledger.queue.open_attempts()) == 3
    ledger.close()


@pytest.mark.parametrize(
    ("schema", "what_next"),
    [("9999", "pip install --upgrade lora-ci"), ("4f2c1a", "a database of its own")],
    ids=["newer", "another program's"],
)
def test_a_schema_that_is_not_known_is_refused_and_left_alone(url, schema, what_next):
    make_old_ledger(url, "0003")
    change(url, f"UPDATE alembic_version SET version_num = '{schema}'")
    before = everything(url)
    with pytest.raises(InfrastructureError, match=f"schema {schema}") as told:
        open_ledger(url, SystemClock())
    assert told.value.exit_code is ExitCode.INFRASTRUCTURE
    assert what_next in told.value.findings[0].hint
    assert everything(url) == before
