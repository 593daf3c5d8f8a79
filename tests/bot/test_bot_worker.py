"""What the bot does about deliveries, with people and processes that the test moves."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from lora_ci.app.commands import Run
from lora_ci.bot.runner import End, Ending
from lora_ci.bot.worker import GRACE_S, Worker
from lora_ci.core.errors import InfrastructureError
from lora_ci.ledger import tables
from lora_ci.ledger.database import open_database
from lora_ci.ledger.inbox import Inbox
from lora_ci.ledger.jobs import Job, Jobs, JobState
from tests.bot.clocks import SetClock
from tests.bot.test_commands import HEAD, MERGED, People
from tests.bot.test_intent import CHECK, COMMENT, changed
from tests.forge.test_payload import PULL, PUSH
from tests.ledgers import new_ledger
from tests.report.test_hostile_text import ATTACKS

REPO, NEXT = "team/loras", "d" * 40
PASSED = End(ending=Ending.DONE, note="passed", run_id="r-1")
STOPPED = End(ending=Ending.STOPPED, note="interrupted", run_id="r-1")
LOST = End(ending=Ending.LOST, note="the process left no result")


class Processes:
    """A runner whose processes end when the test says so."""

    def __init__(self) -> None:
        self.started: list[tuple[Job, Run]] = []
        self.ends: dict[int, End] = {}
        self.stops: list[tuple[int, bool]] = []
        self.trouble: Exception | None = None

    def start(self, job, wanted):
        if self.trouble:
            raise self.trouble
        self.ends.pop(job.id, None)
        self.started.append((job, wanted))
        return f"pid-{len(self.started)}"

    def end(self, job):
        return self.ends.get(job.id)

    def stop(self, job, *, hard):
        self.stops.append((job.id, hard))


class Entry:
    """Access whose host is in memory."""

    def __init__(self, host):
        self.people = host

    def host(self, repo):
        if self.people is None:
            raise InfrastructureError("GitHub cannot be reached")
        return self.people

    def environment(self, repo):
        return {}

    def hook_logs(self, repos):
        return ()


class Bot:
    def __init__(self, folder: Path, host: People | None = None, parallel: int = 2):
        self.clock, self.host, self.count = SetClock(), host or People(), 0
        self.database = open_database(new_ledger(folder), self.clock)
        self.inbox, self.jobs = Inbox(self.database), Jobs(self.database)
        self.runner, self.access, self.folder = Processes(), Entry(self.host), folder
        self.parallel = parallel
        self.worker = self.another()

    def another(self) -> Worker:
        """A server that starts: it knows nothing but the ledger."""
        return Worker(inbox=self.inbox, jobs=self.jobs, access=self.access, runner=self.runner,
                      clock=self.clock, state=self.folder, parallel=self.parallel)  # fmt: skip

    def deliver(self, event, payload):
        """One delivery, and all that can be done then; what was noted."""
        self.count += 1
        name = f"d-{self.count}"
        body = json.dumps({**payload, "happened": self.count})
        self.inbox.receive(name, event, body.encode(), limit=1000)
        self.turn()
        return self.inbox.note_of(name)

    def turn(self):
        for _ in range(50):
            if not self.worker.turn():
                return
        raise AssertionError("it never comes to rest")

    def pull(self, action="synchronize", head=HEAD, **changes):
        payload = changed({**PULL, "action": action}, "pull_request.head.sha", head)
        for path, value in changes.items():
            payload = changed(payload, path, value)
        return self.deliver("pull_request", payload)

    def push_to(self, head):
        """The pull request has a new head."""
        self.host.pull = replace(self.host.pull, head=head)
        return self.pull(head=head)

    def say(self, text, person="bob", comment=99):
        body = changed(changed(COMMENT, "comment.body", text), "comment.user.login", person)
        return self.deliver("issue_comment", changed(body, "comment.id", comment))

    def end(self, number, end=PASSED):
        """The job of the n-th start ends."""
        self.runner.ends[self.runner.started[number][0].id] = end
        self.turn()

    @property
    def heads(self):
        return [job.head for job, _ in self.runner.started]

    @property
    def state(self):
        rows = self.database.rows(select(tables.job).order_by(tables.job.c.id))
        return [(row["state"], row["note"]) for row in rows]


@pytest.fixture
def bot(tmp_path):
    bot = Bot(tmp_path)
    yield bot
    bot.database.close()


def test_a_pull_request_is_run(bot):
    assert bot.pull("opened") == "to be run"
    assert bot.heads == [HEAD]
    bot.end(0)
    assert bot.state == [("done", "passed")]


def test_deliveries_may_come_in_any_order(bot):
    assert bot.pull(head=NEXT) == "the head is aaaaaaa by now"
    assert bot.pull("opened") == "to be run"
    assert bot.pull() == "to be run"
    assert bot.heads == [HEAD]  # it is under way: not twice
    bot.host.pull = replace(bot.host.pull, is_open=False)
    assert bot.pull("reopened") == "the pull request is closed by now"


def test_a_newer_push_takes_the_place_of_the_older(bot):
    bot.pull("opened")
    bot.push_to(NEXT)
    assert bot.runner.stops == [(1, False)]
    assert bot.heads == [HEAD]  # until it has said its last word
    bot.clock.pass_s(GRACE_S + 1)
    bot.turn()
    assert bot.runner.stops == [(1, False), (1, True)]
    bot.end(0, STOPPED)
    assert bot.heads == [HEAD, NEXT]
    assert bot.state[0] == ("done", "a newer push: ddddddd; interrupted")


def test_a_closing_that_is_told_late_ends_nothing(bot):
    bot.pull("opened")
    bot.access.people = None
    bot.pull("closed")
    assert bot.inbox.waiting().deliveries == 1
    bot.access.people = bot.host
    bot.clock.pass_s(31)
    bot.turn()
    assert bot.inbox.note_of("d-2") == "the pull request is open by now"
    assert bot.runner.stops == []


@pytest.mark.parametrize("how", ["closed", "cancel", "deleted"])
def test_what_ends_a_run(bot, how):
    bot.pull("opened")
    if how == "closed":
        bot.host.pull = replace(bot.host.pull, is_open=False)
        bot.pull("closed")
    elif how == "cancel":
        bot.say("/lora-ci cancel")
    else:
        bot.deliver("repository", {"action": "deleted", "repository": {"full_name": REPO}})
    assert bot.runner.stops == [(1, False)]
    bot.end(0, STOPPED)
    assert bot.state[0][0] == JobState.DONE
    assert bot.heads == [HEAD]


def test_no_more_than_so_many_at_a_time(tmp_path):
    bot = Bot(tmp_path, parallel=1)
    main = {**PUSH, "ref": "refs/heads/main"}
    bot.pull("opened")
    bot.deliver("push", main)
    assert len(bot.heads) == 1
    bot.end(0)
    assert len(bot.heads) == 2
    # The same push by another webhook is no other run.
    bot.deliver("push", main)
    bot.end(1)
    assert len(bot.heads) == 2
    bot.database.close()


def test_what_died_is_made_again_three_times(bot):
    bot.pull("opened")
    for number in range(3):
        assert len(bot.heads) == number + 1
        bot.end(number, LOST)
        bot.clock.pass_s(301)
        bot.turn()
    assert len(bot.heads) == 3
    assert bot.state == [("done", "the process left no result")]
    assert "3 times without a result" in bot.host.replies["job-1"]


def test_what_was_not_shown_is_shown_again(bot):
    bot.pull("opened")
    bot.end(0, End(ending=Ending.UNSHOWN, note="passed; no network", run_id="r-1"))
    assert len(bot.heads) == 1
    bot.clock.pass_s(31)
    bot.turn()
    assert bot.runner.started[1][0].run_id == "r-1"
    bot.end(1)
    assert bot.state == [("done", "passed")]


def test_a_process_that_cannot_be_started(bot):
    bot.runner.trouble = OSError(28, "No space left on device")
    bot.pull("opened")
    assert bot.state == [("waiting", "[Errno 28] No space left on device")]
    bot.runner.trouble = None
    bot.clock.pass_s(31)
    bot.turn()
    assert bot.heads == [HEAD]


def test_the_next_server_adopts_what_lives_and_repeats_what_is_lost(bot):
    bot.pull("opened")
    bot.worker = bot.another()
    bot.turn()
    assert len(bot.heads) == 1
    bot.end(0, STOPPED)  # by whoever killed the server
    assert len(bot.heads) == 2
    bot.end(1)
    assert bot.state == [("done", "passed")]


def test_a_server_that_is_stopped_interrupts_what_runs(bot):
    bot.pull("opened")
    bot.runner.stop = lambda job, *, hard: bot.runner.ends.update({job.id: STOPPED})
    bot.worker.close()
    assert bot.state == [("waiting", "interrupted")]
    bot.worker = bot.another()
    bot.turn()
    assert bot.runner.started[1][0].attempts == 1


def test_a_process_that_cannot_be_ended_is_left_to_the_next_server(bot):
    bot.pull("opened")
    began = bot.clock.monotonic()
    bot.worker.close()
    assert bot.clock.monotonic() - began < 90  # what systemd is told to allow
    assert {hard for _, hard in bot.runner.stops} == {False, True}
    assert [job.id for job in bot.jobs.running()] == [1]
    bot.worker = bot.another()
    bot.end(0)
    assert bot.state == [("done", "passed")]


def test_a_fork_waits_for_an_approval_of_its_commit(bot):
    bot.host.pull = replace(bot.host.pull, fork=True)
    foreign = {"pull_request.head.repo": {"full_name": "eve/loras"}}
    bot.pull("opened", **foreign)
    assert bot.runner.started[0][1].approved_by == ()
    bot.end(0)
    bot.say(f"/lora-ci approve {HEAD}")
    assert bot.runner.started[1][1].approved_by == ("bob",)
    bot.end(1)
    # The same commit again: it is still approved.
    bot.pull("reopened", **foreign)
    assert bot.runner.started[2][1].approved_by == ("bob",)
    bot.end(2)
    bot.host.pull = replace(bot.host.pull, head=NEXT)
    bot.pull(head=NEXT, **foreign)
    assert bot.runner.started[3][1].approved_by == ()


def test_nobodys_approval_takes_anothers_away(tmp_path):
    bot = Bot(tmp_path, People(fork=True))
    for number, person in enumerate(("boss", "eve", "boss")):
        bot.clock.pass_s(1)
        bot.say(f"/lora-ci approve {HEAD}", person=person, comment=number)
        bot.end(number)
    given = [wanted.approved_by for _, wanted in bot.runner.started]
    assert given == [("boss",), ("boss", "eve"), ("eve", "boss")]
    bot.database.close()


def test_an_approval_while_it_waits_for_its_turn(tmp_path):
    bot = Bot(tmp_path, People(fork=True), parallel=1)
    bot.deliver("push", {**PUSH, "ref": "refs/heads/main"})
    bot.pull("opened", **{"pull_request.head.repo": None})
    bot.say(f"/lora-ci approve {HEAD}")
    bot.end(0)
    assert bot.runner.started[1][1].approved_by == ("bob",)
    bot.database.close()


@pytest.mark.parametrize("text", [f"approve {'b' * 40}", "run", "retrain", "cancel"])
def test_commands_that_start_nothing(bot, text):
    if not text.startswith("approve"):
        bot.host.person = type(bot.host.person)("read")
    bot.say(f"/lora-ci {text}")
    assert bot.heads == []
    assert bot.host.reactions[-1] == (99, "-1")


@pytest.mark.parametrize("action", ["edited", "deleted"])
def test_a_comment_that_is_changed_starts_nothing(bot, action):
    note = bot.deliver("issue_comment", {**COMMENT, "action": action})
    assert note == "comments that are edited or deleted ask for nothing"
    assert (bot.heads, bot.host.reactions) == ([], [])


def test_commands_wait_behind_what_runs(bot):
    bot.pull("opened")
    bot.say("/lora-ci retrain mei")
    bot.say("/lora-ci status", comment=100)
    assert (
        "`aaaaaaa` runs\n- `aaaaaaa` waits for its turn"
        in bot.host.replies["99"] + (bot.host.replies["100"])
    )
    assert bot.runner.stops == []
    bot.end(0)
    wanted = bot.runner.started[1][1]
    assert (wanted.loras, wanted.retrain) == (("mei",), True)
    assert wanted.asked_at == "2026-11-25T12:00:00+00:00"


def test_a_release_is_not_ended_with_its_pull_request(bot):
    bot.host.pull = replace(bot.host.pull, is_open=False, merge_commit=MERGED)
    bot.say("/lora-ci deploy mei@v1.0.0")
    assert bot.heads == [MERGED]
    bot.pull("closed")
    assert bot.runner.stops == []
    assert bot.runner.started[0][1].event.number == 7


def test_buttons(bot):
    bot.host.pull = replace(bot.host.pull, fork=True, head="b" * 40)
    nameless = changed(CHECK, "check_run.pull_requests", [])
    assert bot.deliver("check_run", nameless) == "no pull request of ours has this commit"
    bot.pull("opened", head="b" * 40, **{"pull_request.head.repo": None})
    bot.end(0)
    pressed = {"action": "requested_action", "requested_action": {"identifier": "approve"}}
    bot.deliver("check_run", {**nameless, **pressed})
    assert bot.runner.started[1][1].approved_by == ("bob",)
    bot.end(1)
    bot.deliver("check_run", nameless)
    assert bot.runner.started[2][1].loras == ("mei",)
    assert bot.host.replies == {}
    bot.host.person = type(bot.host.person)("read")
    bot.deliver("check_run", nameless)
    assert "your permission is `read`" in bot.host.replies["check-5-run"]


def test_a_push_is_run_again_by_its_check(bot):
    nameless = changed(CHECK, "check_run.pull_requests", [])
    bot.deliver("push", {**PUSH, "ref": "refs/heads/main"})
    bot.end(0)
    bot.deliver("check_run", nameless)
    job, wanted = bot.runner.started[1]
    assert (job.number, wanted.event.ref, wanted.loras) == (None, "refs/heads/main", ("mei",))
    bot.end(1)
    bot.host.person = type(bot.host.person)("read")
    assert bot.deliver("check_run", nameless) == "bob may not ask for this"


def test_a_host_that_is_down_is_asked_later(bot):
    bot.access.people = None
    assert bot.pull("opened") == "GitHub cannot be reached"
    bot.access.people = bot.host
    bot.turn()
    assert bot.heads == []
    bot.clock.pass_s(31)
    bot.turn()
    assert bot.heads == [HEAD]


def test_a_host_that_is_down_for_long(bot):
    bot.access.people = None
    bot.pull("opened")
    for _ in range(11):
        assert bot.inbox.waiting().deliveries == 1
        bot.clock.pass_s(601)
        bot.turn()
    assert bot.inbox.waiting().deliveries == 0
    assert bot.inbox.note_of("d-1") == "GitHub cannot be reached"


def test_what_breaks_us_is_left_alone_after_three_attempts(bot):
    def broken(repo):
        raise ZeroDivisionError("a bug")

    bot.access.host = broken
    bot.pull("opened")
    for _ in range(3):
        bot.clock.pass_s(301)
        bot.turn()
    assert bot.inbox.note_of("d-1") == "ZeroDivisionError: a bug"
    assert bot.inbox.waiting().deliveries == 0
    assert bot.deliver("ping", {}) == "nothing is done about `ping`"


def test_what_kills_the_bot_is_left_alone_after_three_deaths(bot):
    class Killed(BaseException):
        """Nothing of ours goes on after it."""

    def die(repo):
        raise Killed

    bot.access.people = None
    bot.pull("opened")  # a host that is down is no death
    bot.clock.pass_s(31)
    healthy, bot.access.host = bot.access.host, die
    for _ in range(3):
        with pytest.raises(Killed):
            bot.another().turn()
    bot.access.host = healthy
    bot.worker = bot.another()
    bot.turn()
    assert bot.inbox.note_of("d-1") == "the bot died of it 3 times"
    assert bot.inbox.waiting().deliveries == 0


def test_only_those_who_are_to_be_served_are(bot):
    bot.worker.owners = frozenset({"team"})
    strange = changed({**PUSH, "ref": "refs/heads/main"}, "repository.full_name", "Eve/loras")
    assert bot.deliver("push", strange) == "Eve is not among those who are served"
    moved = {"action": "transferred", "repository": {"full_name": "eve/loras"},
             "changes": {"owner": {"from": {"user": {"login": "mallory"}}}}}  # fmt: skip
    assert bot.deliver("repository", moved) == "eve is not among those who are served"
    # What is given away leaves the name to the next.
    away = changed(moved, "changes.owner.from.user.login", "team")
    assert bot.deliver("repository", away) == "team/loras is eve/loras now"
    assert bot.deliver("ping", {}) == "nothing is done about `ping`"
    assert bot.heads == []
    assert bot.pull("opened", **{"repository.full_name": "Team/loras"}) == "to be run"


def test_hostile_text_is_only_carried(bot):
    for number, attack in enumerate(ATTACKS):
        bot.pull("opened", **{"pull_request.title": attack, "pull_request.head.ref": attack})
        bot.say(attack)
        wanted = bot.runner.started[number][1]
        assert (wanted.event.message, wanted.event.ref) == (attack, attack)
        assert len(bot.runner.started) == number + 1
        bot.end(number)
