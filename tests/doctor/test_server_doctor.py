"""What the doctor says of a machine that runs the server: its queue, its lead, its cluster."""

import fcntl
import json
import socket
import sqlite3
import threading
from pathlib import Path

import pytest

from lora_ci.cli.main import main
from lora_ci.core.clock import SystemClock
from lora_ci.core.event import Event, EventKind
from lora_ci.core.fingerprint import make_fingerprint
from lora_ci.core.plan import Action, Decision
from lora_ci.core.step import Stage, StepSpec
from lora_ci.doctor.checked import Checked, State
from lora_ci.doctor.machine import Answer, Ran, ThisMachine
from lora_ci.doctor.server import (
    Serving,
    check_executor,
    check_lead,
    check_ledger,
    check_running,
    check_steps,
)
from lora_ci.execution.lead import Leadership, this_process
from lora_ci.ledger.ledger import Ledger, open_ledger
from tests.ledgers import new_ledger

CLOCK = SystemClock()
LEASE = "steps-ray"
GONE = f"{this_process().rpartition(':')[0]}:1"


class Machine(ThisMachine):
    """This one, but for what programs and servers say."""

    def __init__(self, ran: Ran | None = None, answer: Answer | None = None) -> None:
        self.ran, self.answer = ran, answer

    def run(self, *command: str) -> Ran | None:
        return self.ran

    def ask(self, method, url, headers, body=None) -> Answer:
        assert self.answer
        return self.answer


@pytest.fixture
def ledger(ledger_url):
    ledger = open_ledger(ledger_url, CLOCK)
    yield ledger
    ledger.close()


def add(ledger: Ledger, *, owner: str | None) -> None:
    """A run with a step that waits."""
    ledger.start_run("run-1", Event(kind=EventKind.PUSH, repo="r", head="h"))
    if owner:
        ledger.queue.beat("run-1", owner)
    fingerprint = make_fingerprint(Stage.TRAIN, {})
    decision = Decision(
        lora="mei", stage=Stage.TRAIN, action=Action.RUN, why="", fingerprint=fingerprint
    )
    spec = StepSpec(
        stage=Stage.TRAIN, lora="mei", fingerprint=fingerprint.value, inputs={}, params={}
    )
    ledger.queue.add("run-1", decision, spec, commit="c", repo="r")


def says(checked: Checked, state: State, *words: str) -> None:
    assert checked.state is state, checked
    for word in words:
        assert word in checked.found, checked
    assert bool(checked.fix) == (state in (State.WARNING, State.ERROR))


def test_a_server_works_in_its_folder_or_not(tmp_path):
    says(check_running(tmp_path), State.SKIPPED, "no server has worked")
    (tmp_path / "server.lock").touch()
    says(check_running(tmp_path), State.WARNING, "no server works")
    with (tmp_path / "server.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        says(check_running(tmp_path), State.OK, "a server works")


def test_a_database_of_each_age_and_none_is_made_or_changed(tmp_path):
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    says(check_ledger(None, CLOCK), State.SKIPPED)
    says(check_ledger(url, CLOCK), State.SKIPPED, "is made when")
    assert list(tmp_path.iterdir()) == []
    new_ledger(tmp_path)
    says(check_ledger(url, CLOCK), State.OK, "has schema")
    for version, state, words in (("0001", State.WARNING, "older"), ("9999", State.ERROR, "newer")):
        with sqlite3.connect(tmp_path / "ledger.db") as database:
            database.execute("UPDATE alembic_version SET version_num = ?", (version,))
        says(check_ledger(url, CLOCK), state, words)
        says(check_lead(url, LEASE, CLOCK), State.SKIPPED)
        says(check_steps(url, CLOCK), State.SKIPPED)
    told = check_ledger(f"sqlite:///{tmp_path}/ledger.db", CLOCK).found
    assert "9999" in told


def test_the_lead(ledger_url, ledger):
    says(check_lead(ledger_url, LEASE, CLOCK), State.OK, "nothing is to be done")
    add(ledger, owner=this_process())
    says(check_lead(ledger_url, LEASE, CLOCK), State.WARNING, "1 step to move on, and nobody leads")
    assert Leadership(queue=ledger.queue, clock=CLOCK, name=LEASE, holder=GONE).lead()
    says(check_lead(ledger_url, LEASE, CLOCK), State.WARNING, "is gone")
    says(check_lead(ledger_url, None, CLOCK), State.SKIPPED, "its own jobs")


def test_a_leader_that_lives_renews_its_lease(ledger_url, ledger):
    host = f"{socket.gethostname()}-2:7:1"
    ledger.queue.take_lease(LEASE, host, seen=None)
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(0.1):
            ledger.queue.take_lease(LEASE, host, seen=ledger.queue.lease(LEASE))

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        says(check_lead(ledger_url, LEASE, CLOCK), State.OK, "leads")
    finally:
        ended.set()
        thread.join()


class Quick(SystemClock):
    """Its time goes by at once."""

    def __init__(self) -> None:
        self.passed = 0.0

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds


def test_a_leader_that_hangs(ledger_url, ledger):
    ledger.queue.take_lease(LEASE, "elsewhere:7:1", seen=None)
    says(check_lead(ledger_url, LEASE, Quick()), State.WARNING, "elsewhere:7", "says nothing")


def test_steps_that_nobody_moves_on(ledger_url, ledger):
    says(check_steps(ledger_url, CLOCK), State.OK, "0 steps running, 0 waiting")
    add(ledger, owner=this_process())
    says(check_steps(ledger_url, CLOCK), State.OK, "0 steps running, 1 waiting")
    (step,) = ledger.queue.unfinished("run-1")
    ledger.queue.begin([(step, {})], executor="local")
    says(check_steps(ledger_url, CLOCK), State.OK, "1 step running")
    ledger.queue.beat("run-1", GONE)
    told = check_steps(ledger_url, CLOCK)
    says(told, State.WARNING, "1 are of runs that nobody moves on (run-1)")


def test_an_attempt_whose_process_is_gone(tmp_path):
    url = new_ledger(tmp_path)
    ledger = open_ledger(url, CLOCK)
    add(ledger, owner=this_process())
    (step,) = ledger.queue.unfinished("run-1")
    key = ledger.queue.begin([(step, {})], executor="local")[0]
    ledger.queue.note_handles({key: f"1:no:{key}"})
    says(check_steps(url, CLOCK), State.WARNING, "the process of train of mei is gone")


@pytest.mark.parametrize(
    ("where", "machine", "state", "words"),
    [
        ("inline", Machine(), State.OK, "inline"),
        ("local", Machine(), State.OK, "local"),
        ("slurm", Machine(None), State.ERROR, "not installed"),
        ("slurm", Machine(Ran(1, "", "no controller\nx")), State.ERROR, "sinfo: no controller"),
        ("slurm=gpu", Machine(Ran(0, "\n", "")), State.ERROR, "no partition 'gpu'"),
        ("slurm", Machine(Ran(0, "gpu* up 4 idle\n", "")), State.OK, "gpu* up 4 idle"),
        ("slurm", Machine(Ran(0, "gpu* down 4 idle\n", "")), State.ERROR, "down"),
        ("ray=http://x", Machine(answer=Answer(401, {}, b"")), State.ERROR, "token"),
        ("ray=http://x", Machine(answer=Answer(200, {}, b"<html>")), State.ERROR, "no dashboard"),
        (
            "ray=http://x",
            Machine(answer=Answer(200, {}, b'{"version":"4","ray_version":"2.60.0"}')),
            State.OK,
            "Ray 2.60.0",
        ),
    ],
)
def test_what_runs_the_steps_answers(where, machine, state, words):
    says(check_executor(machine, where), state, words)


def test_the_command_asks_about_the_server_and_no_repository(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("GITHUB_API_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("GITHUB_TOKEN", "")
    state = tmp_path / "bot"
    new_ledger(state)
    (state / "ledger.db").rename(state / "steps.db")
    main(["doctor", "--server", str(state), "--executor", "local", "--json"])
    told = json.loads(capsys.readouterr().out)["checks"]
    assert not {"config", "data", "records"} & set(told)
    assert told["ledger"]["state"] == told["steps"]["state"] == told["executor"]["state"] == "ok"
    assert told["server"]["state"] == "skipped"
    assert Serving(state=Path("/s")).queue is None
    assert Serving(state=state, executor="actions").lease is None
    # Who forgets to name the executor still sees the queue that is there.
    assert Serving(state=state).queue == f"sqlite:///{state}/steps.db"
