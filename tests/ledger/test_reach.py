"""A ledger that cannot be reached says why and what to type; one that comes back is used again."""

import threading
from contextlib import closing

import pytest
from sqlalchemy import make_url, text

from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import ExitCode, InfrastructureError, LedgerAwayError, UsageError
from lora_ci.core.event import Event, EventKind
from lora_ci.execution.executor import Executor
from lora_ci.execution.inline import InlineExecutor
from lora_ci.execution.local import LocalExecutor
from lora_ci.ledger import engine
from lora_ci.ledger.database import open_database
from lora_ci.ledger.ledger import Ledger, open_ledger
from tests import postgres
from tests.command import assert_one_message, lora_ci
from tests.execution.toy import TABLE, toy_command
from tests.execution.toy_world import DEADLINE_S, ToyWorld, wait_for_progress
from tests.ledgers import drop_ledger, new_ledger

pytestmark = [pytest.mark.slow, pytest.mark.needs_postgres]
EVENT = Event(kind=EventKind.PUSH, repo="r", head="h")
# Nobody listens there.
NOWHERE = "postgresql://ann:sekret@127.0.0.1:1/ledger?sslpassword=sekret"


@pytest.fixture(scope="module")
def guarded() -> str:
    """A role that has a password and owns nothing."""
    postgres.server().do("CREATE ROLE guarded LOGIN PASSWORD 'p@ss:w/rd'")
    return "guarded"


@pytest.fixture
def url(tmp_path):
    url = new_ledger(tmp_path, "postgresql")
    yield url
    drop_ledger(url)


def refusal(url: str) -> InfrastructureError:
    with pytest.raises(InfrastructureError) as told:
        open_ledger(url, SystemClock())
    assert told.value.exit_code is ExitCode.INFRASTRUCTURE
    (finding,) = told.value.findings
    assert "sekret" not in f"{finding.message} {finding.hint}"
    assert "cannot be used: " in finding.message
    return told.value


def hint(error: InfrastructureError) -> str:
    return error.findings[0].hint or ""


def test_a_server_that_is_not_there():
    error = refusal(NOWHERE)
    assert "ann:***@127.0.0.1:1/ledger cannot be used: " in str(error)
    assert "pg_isready -h 127.0.0.1 -p 1 -U ann" in hint(error)


def test_a_host_without_an_address():
    error = refusal("postgres://ann:sekret@host.invalid/ledger")
    assert "host.invalid" in str(error)
    assert "pg_isready -h host.invalid" in hint(error)


def test_a_database_that_is_not_there():
    server = postgres.server()
    error = refusal(server.url("nowhere"))
    assert 'database "nowhere" does not exist' in str(error)
    assert f"createdb -h {server.folder} -U postgres nowhere" in hint(error)


@pytest.mark.parametrize("who", ["guarded:sekret", "guarded", "nobody:sekret"])
def test_a_user_or_a_password_that_is_wrong(guarded, url, who, monkeypatch):
    monkeypatch.setenv("PGPASSFILE", "/nonexistent")
    error = refusal(postgres.server().url(make_url(url).database, who))
    assert "psql -h" in hint(error)
    assert "percent-encoded" in hint(error)


def test_a_password_with_all_kinds_of_signs_and_a_user_who_owns_nothing(guarded, url):
    error = refusal(postgres.server().url(make_url(url).database, "guarded:p%40ss%3Aw%2Frd"))
    assert "permission denied" in str(error)
    assert "must own the tables" in hint(error)
    assert "p@ss" not in str(error)


def test_a_database_that_has_tables_of_another_program():
    url = postgres.new_database()
    with closing(postgres.server().connect(make_url(url).database)) as connection:
        connection.execute("CREATE TABLE run (x int)")
    assert "a database of its own" in hint(refusal(url))
    postgres.drop_database(url)


def test_a_setting_that_libpq_does_not_know():
    with pytest.raises(InfrastructureError, match="nonsense"):
        open_ledger(postgres.server().url("postgres") + "&nonsense=1", SystemClock())


@pytest.mark.parametrize("url", ["postgresql://a:sekret@h:port/db", "postgresql:sekret"])
def test_what_is_no_address(url):
    with pytest.raises(UsageError) as told:
        open_ledger(url, SystemClock())
    assert "sekret" not in str(told.value)


def test_every_way_to_write_the_address_is_the_same(url):
    for name in ("postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2"):
        ledger = open_ledger(url.replace("postgresql+psycopg", name), SystemClock())
        assert ledger.recent_runs(1) == ()
        ledger.close()


def test_the_command_line_tells_it_in_one_message(tmp_path):
    told = lora_ci(tmp_path, "status", "--repo", str(tmp_path), f"--ledger-url={NOWHERE}")
    assert_one_message(told, 4, "ann:***@127.0.0.1:1/ledger", "pg_isready")
    assert "sekret" not in told.out + told.err


def test_a_value_that_is_refused_is_not_a_ledger_that_is_away(url):
    ledger = open_ledger(url, SystemClock())
    with pytest.raises(InfrastructureError, match="too long") as told:
        ledger.start_run("r" * 65, EVENT)
    assert not isinstance(told.value, LedgerAwayError)
    ledger.start_run("r" * 64, EVENT)
    assert len(ledger.recent_runs(5)) == 1
    ledger.close()


def test_a_server_that_only_reads(url):
    name = make_url(url).database
    postgres.server().do("ALTER DATABASE {} SET default_transaction_read_only = on", name)
    ledger = open_ledger(url, SystemClock())
    assert ledger.recent_runs(5) == ()
    with pytest.raises(InfrastructureError, match="read-only") as told:
        ledger.start_run("run-1", EVENT)
    assert "target_session_attrs=read-write" in hint(told.value)
    postgres.server().do("ALTER DATABASE {} RESET default_transaction_read_only", name)
    ledger.close()


def test_a_process_that_stands_still_in_a_transaction_is_not_waited_for_long(url, monkeypatch):
    monkeypatch.setattr(engine, "SESSION", ("SET lock_timeout = 200",))
    ledger = open_ledger(url, SystemClock())
    ledger.start_run("run-1", EVENT)
    with closing(postgres.server().connect(make_url(url).database)) as other:
        other.execute("BEGIN")
        other.execute("UPDATE run SET beat = 7")
        with pytest.raises(LedgerAwayError, match="lock timeout") as told:
            ledger.queue.beat("run-1", "me")
        assert "try again" in hint(told.value)
    ledger.queue.beat("run-1", "me")
    ledger.close()


def test_a_transaction_that_is_cut_off_leaves_nothing_and_the_next_works(url):
    database = open_database(url, SystemClock())
    ledger = Ledger(database)

    def lose() -> None:
        with database.transaction() as connection:
            connection.execute(text("UPDATE run SET outcome = 'passed'"))
            postgres.end_sessions(url)
            connection.execute(text("UPDATE run SET outcome = 'failed'"))

    ledger.start_run("run-1", EVENT)
    with pytest.raises(LedgerAwayError):
        lose()
    (run,) = ledger.recent_runs(5)
    assert run.outcome is None
    ledger.start_run("run-2", EVENT)
    assert len(ledger.recent_runs(5)) == 2
    ledger.close()


def test_a_connection_that_was_cut_while_nobody_used_it_is_made_anew(url):
    ledger = open_ledger(url, SystemClock())
    ledger.start_run("run-1", EVENT)
    postgres.end_sessions(url)
    assert len(ledger.recent_runs(5)) == 1
    postgres.end_sessions(url)
    ledger.start_run("run-2", EVENT)
    assert len(ledger.recent_runs(5)) == 2
    ledger.close()


@pytest.fixture(scope="module")
def server():
    """A server that a test may stop and start."""
    with postgres.own_server() as server:
        yield server


def test_a_server_that_stops_and_starts_again(server):
    server.do("CREATE DATABASE {}", "again")
    ledger = open_ledger(server.url("again"), SystemClock())
    ledger.start_run("run-1", EVENT)
    server.stop()
    for ask in (lambda: ledger.recent_runs(5), lambda: ledger.start_run("run-2", EVENT)):
        with pytest.raises(LedgerAwayError, match="cannot be used") as told:
            ask()
        assert "pg_isready" in hint(told.value)
    server.start()
    ledger.start_run("run-2", EVENT)
    assert {run.id for run in ledger.recent_runs(5)} == {"run-1", "run-2"}
    ledger.close()


@pytest.mark.parametrize("kind", ["inline", "local"])
def test_a_step_goes_on_while_the_server_starts_anew(server, tmp_path, kind):
    server.do("CREATE DATABASE {}", kind)
    world = ToyWorld(tmp_path, server.url(kind))
    executor: Executor = InlineExecutor(world.store, tmp_path / "cache", table=TABLE)
    if kind == "local":
        executor = LocalExecutor(tmp_path / "objects", tmp_path / "cache", command=toy_command)
    spec = world.add(world.spec("journal", units=150))
    driving = threading.Thread(target=world.drive, args=(executor,), daemon=True)
    driving.start()
    wait_for_progress(world.folder(spec))
    server.stop()
    server.start()
    driving.join(DEADLINE_S)
    assert not driving.is_alive()
    assert world.result(spec).metrics == {"calls": 1.0}
    assert [attempt["outcome"] for attempt in world.attempts(spec)] == ["passed"]
    world.ledger.close()
