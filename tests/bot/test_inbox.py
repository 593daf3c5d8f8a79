"""The inbox and the jobs: each transition once, whatever comes twice."""

import sqlite3
import threading
from pathlib import Path

import pytest

from lora_ci.core.clock import SystemClock
from lora_ci.core.step import Stage
from lora_ci.ledger.database import open_database
from lora_ci.ledger.inbox import Approval, DeliveryState, Inbox, Move, Receipt
from lora_ci.ledger.jobs import Halt, Jobs, JobState, NewJob
from lora_ci.ledger.ledger import open_ledger
from tests.bot.clocks import SetClock

OLD, NEW = "a" * 40, "b" * 40
# Dumped from a database that lora-ci made when that was its schema.
FIRST_SCHEMA = Path(__file__).with_name("ledger_0001.sql")


class Rooms:
    """Inbox and jobs on one database, and a way to fill them."""

    def __init__(self, url: str):
        self.clock = SetClock()
        self.database = open_database(url, self.clock)
        self.inbox, self.jobs = Inbox(self.database), Jobs(self.database)
        self.count = 0

    def deliver(self, *effects):
        """One delivery that is dealt with."""
        self.count += 1
        self.inbox.receive(f"d-{self.count}", "push", b"%d" % self.count, limit=100)
        taken = self.inbox.take()
        assert taken is not None
        assert self.inbox.settle(taken, "done", *effects)
        return taken

    def start(self):
        """The next job, running."""
        job = self.jobs.next()
        assert job is not None
        assert self.jobs.mark_running(job)
        return next(running for running in self.jobs.running() if running.id == job.id)


@pytest.fixture
def rooms(ledger_url):
    rooms = Rooms(ledger_url)
    yield rooms
    rooms.database.close()


def pull(head, *, number=7, following=True, repo="team/loras"):
    return NewJob(repo=repo, number=number, head=head, wanted="{}", following=following)


def test_a_ledger_of_the_first_schema_is_upgraded(tmp_path):
    path = tmp_path / "ledger.db"
    with sqlite3.connect(path) as old:
        old.executescript(FIRST_SCHEMA.read_text())
    database = open_database(f"sqlite:///{path}", SystemClock())
    assert Inbox(database).receive("d-1", "ping", b"{}", limit=1) is Receipt.NEW
    database.close()
    ledger = open_ledger(f"sqlite:///{path}", SystemClock())
    assert {run.id for run in ledger.recent_runs(5)} == {"run-1", "run-2"}
    assert [record.lora for record in ledger.passed("mei", Stage.TRAIN)] == ["mei"]
    ledger.close()


def test_deliveries_come_in_order_of_arrival_and_once(rooms):
    for name in ("b", "a", "b"):
        rooms.inbox.receive(name, "push", name.encode(), limit=10)
    seen = []
    while taken := rooms.inbox.take():
        seen.append((taken.id, taken.payload))
        assert rooms.inbox.settle(taken, "done")
        assert not rooms.inbox.settle(taken, "done again", pull(NEW))
    assert seen == [("b", b"b"), ("a", b"a")]
    assert rooms.jobs.next() is None
    assert rooms.inbox.known(["a", "x"]) == {"a"}


def test_what_is_signed_counts_once_under_whatever_id(rooms):
    def receive(name, event="push", body=b"{}", limit=10):
        return rooms.inbox.receive(name, event, body, limit=limit)

    assert receive("d-1") is Receipt.NEW
    assert receive("d-2") is Receipt.KNOWN
    assert receive("d-2", limit=1) is Receipt.KNOWN
    taken = rooms.inbox.take()
    assert taken is not None
    rooms.inbox.settle(taken, "done")
    assert receive("d-3") is Receipt.KNOWN
    assert receive("d-4", "pull_request") is Receipt.NEW
    assert receive("d-5", body=b"{ }") is Receipt.NEW
    assert [receive(name, "ping") for name in ("p-1", "p-2")] == [Receipt.NEW, Receipt.NEW]
    # As long as deliveries are kept.
    rooms.clock.pass_s(3600)
    rooms.inbox.forget(older_than_s=60)
    assert receive("d-6") is Receipt.NEW


def test_many_at_once(rooms):
    receipts = []

    def deliver(number):
        name = f"d-{number % 20}"
        receipts.append(rooms.inbox.receive(name, "push", name.encode(), limit=10))

    threads = [threading.Thread(target=deliver, args=(number,)) for number in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert receipts.count(Receipt.NEW) == 10
    assert rooms.inbox.waiting().deliveries == 10


def test_a_poisonous_delivery_is_parked(rooms):
    rooms.inbox.receive("poison", "push", b"{}", limit=10)
    rooms.inbox.receive("good", "push", b"[]", limit=10)
    taken = rooms.inbox.take()
    assert taken is not None
    # The server dies in the middle: the attempt counts all the same.
    taken = rooms.inbox.take()
    assert taken is not None
    assert (taken.id, taken.attempts) == ("poison", 2)
    assert rooms.inbox.put_off(taken, "no network", delay_s=30) is DeliveryState.WAITING
    other = rooms.inbox.take()
    assert other is not None
    assert other.id == "good"
    rooms.inbox.settle(other, "done")
    assert rooms.inbox.take() is None
    rooms.clock.pass_s(31)
    taken = rooms.inbox.take()
    assert taken is not None
    assert rooms.inbox.put_off(taken, "no network", delay_s=None) is DeliveryState.PARKED
    rooms.clock.pass_s(3600)
    assert rooms.inbox.take() is None
    assert rooms.inbox.note_of("poison") == "no network"


def test_a_newer_push_ends_what_waits_and_stops_what_runs(rooms):
    rooms.deliver(pull(OLD))
    old = rooms.start()
    rooms.deliver(pull(OLD, following=False))
    rooms.deliver(pull(NEW))
    (stopped,) = rooms.jobs.running()
    assert stopped.stopping == "a newer push: bbbbbbb"
    assert [job.head for job in rooms.jobs.under_way("team/loras", 7)] == [OLD, NEW]
    # One process for a pull request: the newer waits until the older has ended.
    assert rooms.jobs.next() is None
    assert rooms.jobs.finish(old, "interrupted")
    assert rooms.start().head == NEW


def test_the_same_head_is_not_run_twice_at_a_time(rooms):
    rooms.deliver(pull(NEW))
    rooms.deliver(pull(NEW))
    job = rooms.start()
    rooms.deliver(pull(NEW))
    assert rooms.inbox.waiting().jobs == 0
    # What a person asks for waits behind it.
    rooms.deliver(pull(NEW, following=False))
    assert rooms.inbox.waiting().jobs == 1
    rooms.jobs.finish(job, "passed")
    job = rooms.start()
    rooms.jobs.finish(job, "passed")
    rooms.deliver(pull(NEW))
    assert rooms.jobs.next() is not None


def test_other_pull_requests_go_on(rooms):
    rooms.deliver(pull(OLD, number=1), pull(OLD, number=2))
    first = rooms.start()
    second = rooms.start()
    rooms.deliver(Halt(repo="team/loras", number=1, why="closed"))
    stopping = {job.id: job.stopping for job in rooms.jobs.running()}
    assert stopping == {first.id: "closed", second.id: None}


def test_pushes_of_a_repository_wait_for_each_other(rooms):
    rooms.deliver(
        pull(OLD, number=None, following=False),
        pull(NEW, number=None, following=False),
        pull(OLD, number=None, following=False, repo="team/other"),
    )
    rooms.start()
    assert rooms.start().repo == "team/other"
    assert rooms.jobs.next() is None


def test_a_repository_that_is_gone(rooms):
    rooms.deliver(pull(OLD), pull(OLD, number=None, following=False))
    rooms.start()
    rooms.deliver(Halt(repo="team/loras", number=None, why="deleted"))
    assert [job.stopping for job in rooms.jobs.running()] == ["deleted"]
    assert rooms.inbox.waiting().jobs == 0


def test_another_attempt_and_another_showing(rooms):
    rooms.deliver(pull(OLD))
    job = rooms.start()
    rooms.jobs.note_handle(job, "123:456")
    assert rooms.jobs.running()[0].handle == "123:456"
    assert rooms.jobs.again(job, "the machine failed", delay_s=30)
    assert rooms.jobs.next() is None
    rooms.clock.pass_s(31)
    job = rooms.start()
    assert (job.attempts, job.handle, job.note) == (2, None, "the machine failed")
    assert rooms.jobs.again(job, "the server stopped", counted=False)
    job = rooms.start()
    assert job.attempts == 2
    assert rooms.jobs.show_again(job, "passed", "r-1", delay_s=0)
    job = rooms.start()
    assert (job.attempts, job.run_id) == (1, "r-1")
    assert rooms.jobs.finish(job, "passed")
    assert not rooms.jobs.finish(job, "passed")
    assert not rooms.jobs.mark_running(job)
    newest = rooms.jobs.newest("team/loras", OLD)
    assert newest is not None
    assert newest.state is JobState.DONE


def test_approvals_are_of_one_commit(rooms):
    approval = Approval(repo="team/loras", number=7, sha=OLD, person="bob")
    rooms.deliver(approval)
    assert rooms.inbox.approvers("team/loras", 7, OLD) == ("bob",)
    assert rooms.inbox.approvers("team/loras", 7, NEW) == ()
    assert rooms.inbox.approvers("team/loras", 8, OLD) == ()
    for person in ("eve", "eve"):
        rooms.clock.pass_s(1)
        rooms.deliver(Approval(repo="team/loras", number=7, sha=OLD, person=person))
    assert rooms.inbox.approvers("team/loras", 7, OLD) == ("bob", "eve")
    rooms.deliver(Move("team/loras", "team/new"), pull(OLD, repo="team/new"))
    assert rooms.inbox.approvers("team/new", 7, OLD) == ("bob", "eve")


def test_what_is_long_done_is_forgotten(rooms):
    taken = rooms.deliver(pull(OLD))
    job = rooms.start()
    rooms.clock.pass_s(3600)
    rooms.inbox.forget(older_than_s=60)
    assert rooms.inbox.known([taken.id]) == frozenset()
    assert rooms.jobs.running() == (job,)
    rooms.jobs.finish(job, "passed")
    rooms.inbox.forget(older_than_s=60)
    assert rooms.jobs.newest("team/loras", OLD) is None
