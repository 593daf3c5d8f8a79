"""Each transition of a step is made once, on each kind of database, whoever else is at it."""

from dataclasses import replace
from functools import partial

import pytest

from lora_ci.core.errors import InfrastructureError
from lora_ci.core.finding import Finding, Severity
from lora_ci.core.step import Outcome, Stage, StepResult
from lora_ci.execution.turns import in_turn
from lora_ci.ledger.queue import StepState
from tests.ledger.lines import PASSED, Line, at_once

ERROR = StepResult(outcome=Outcome.ERROR)


@pytest.fixture
def line(ledger_url):
    line = Line(ledger_url)
    yield line
    line.close()


# What waits


def test_a_step_is_added_once(line):
    step = line.add(work="a")
    assert line.add(work="b") == step
    assert (step.state, step.attempts, step.failures) == (StepState.WAITING, 0, 0)
    assert step.folder.parts[1] == "steps"
    assert line.queue.specs([step])[step.id].fingerprint == step.fingerprint
    (waiting,) = line.queue.waiting()
    assert (waiting.step, waiting.repo, waiting.owner) == (step, "team/loras", None)


def test_several_that_add_the_same_step_add_one(line):
    line.add("run-0")
    ledgers = [line.open() for _ in range(4)]
    lines = [replace(line, ledgers=[]) for _ in ledgers]
    at_once([partial(one.add, "run-1") for one in lines])
    assert len(line.queue.unfinished("run-1")) == 1
    for one in lines:
        one.close()


def test_a_step_of_a_run_that_is_not_there_is_refused(line, monkeypatch):
    monkeypatch.setattr(line.ledger, "start_run", lambda *_: None)
    with pytest.raises(InfrastructureError, match=r"(?i)no step of run run-1: .*foreign key"):
        line.add()
    assert line.queue.waiting() == ()


def test_higher_priorities_come_first_then_what_has_waited_longest(line):
    line.add(lora="first")
    line.clock.pass_s(1)
    line.add(lora="second")
    line.add(lora="urgent", priority=2)
    line.add(lora="search", priority=-1)
    assert line.due() == ["urgent", "first", "second", "search"]
    assert line.due(run_id="run-2") == []


def test_a_flood_of_one_repository_hides_nothing_of_another(line):
    for number in range(5):
        line.add("run-1", f"flood-{number}", repo="big/one")
    line.add("run-2", "small", repo="small/one")
    line.add("run-1", "urgent", repo="big/one", priority=1)
    assert [w.step.lora for w in line.queue.waiting(most=2)] == [
        *("urgent", "flood-0", "flood-1", "small"),
    ]


def test_what_has_begun_ends_before_more_begins(line):
    line.add(lora="begins", stage=Stage.TRAIN)
    line.clock.pass_s(1)
    line.add(lora="ends", stage=Stage.QA)
    line.add(lora="other", stage=Stage.TRAIN, repo="other/loras")
    waiting = line.queue.waiting(most=1)
    assert [w.step.lora for w in waiting] == ["ends", "other"]
    assert next(in_turn(line.queue.waiting(), (), {"other/loras": 1.0})).step.lora == "ends"


def test_steps_that_wait_for_gpus_hide_none_that_needs_none(line):
    for number in range(3):
        line.add(lora=f"train-{number}", stage=Stage.QA, gpus=1)
    line.add(lora="new", stage=Stage.VALIDATE)
    assert line.due(most=2) == ["train-0", "train-1", "new"]


def test_what_is_made_again_waits_until_it_is_due(line):
    attempt = line.begin(line.add())
    assert line.queue.again(attempt, Outcome.ERROR, delay_s=30)
    assert line.due() == []
    line.clock.pass_s(29)
    assert line.due() == []
    line.clock.pass_s(1)
    assert line.due() == ["mei"]


def test_a_clock_that_is_set_back_makes_nothing_wait_for_long(line):
    line.clock.pass_s(86_400)
    attempt = line.begin(line.add())
    line.queue.again(attempt, Outcome.ERROR, delay_s=60)
    line.add("run-2", "leo")
    line.clock.pass_s(-86_400)
    assert sorted(line.due()) == ["leo", "mei"]


# From waiting to running


def test_a_step_is_begun_once_however_many_try(line):
    step = line.add(gpus=1)
    queues = [line.open().queue for _ in range(8)]
    begins = [partial(q.begin, [(step, {"gpus": [0]})], executor="local") for q in queues]
    (key,) = [key for (key,) in at_once(begins) if key]
    attempt = line.attempt(key)
    assert attempt.step == line.step()
    assert (attempt.step.state, attempt.step.attempts) == (StepState.RUNNING, 1)
    assert (attempt.executor, attempt.handle, attempt.place) == ("local", None, {"gpus": [0]})
    assert (attempt.gpus, attempt.vram_gib, attempt.stopping) == (1, 7.5, None)
    assert len(line.queue.open_attempts()) == 1
    assert line.queue.begin([(step, {})], executor="local")[0] is None


def test_the_same_work_of_several_runs_is_begun_once_at_a_time(line):
    queues = [line.open().queue for _ in range(4)]
    for round_ in range(8):
        steps = [line.add(f"run-{round_}-{n}", work=f"{round_}") for n in range(4)]
        pairs = zip(queues, steps, strict=True)
        begins = [partial(q.begin, [(step, {})], executor="x") for q, step in pairs]
        assert sum(key is not None for (key,) in at_once(begins)) == 1
    # At another executor it may be: the folder lets one in.
    other = next(s for s in steps if line.step(s.run_id).state is StepState.WAITING)
    assert line.queue.begin([(other, {})], executor="x")[0] is None
    assert line.queue.begin([(other, {})], executor="y")[0] is not None


def test_many_steps_begun_at_once_by_several_that_stop_and_end_some(line):
    for round_ in range(4):
        steps = [line.add(f"run-{round_}-{n}", work=f"{round_} {n // 2}") for n in range(24)]
        orders = (steps, steps[::-1], steps[1::2] + steps[::2])
        begins = [
            partial(line.open().queue.begin, [(step, {}) for step in order], executor="x")
            for order in orders
        ]
        stops = [partial(line.open().queue.stop, s.run_id, "newer") for s in (steps[0], steps[9])]
        keys = [key for begun in at_once([*begins, *stops]) for key in begun or () if key]
        begun = [line.attempt(key) for key in keys]
        assert len({attempt.step.id for attempt in begun}) == len(begun)
        # Of each two that are the same work one, where that was not stopped first.
        assert len({attempt.step.fingerprint for attempt in begun}) == len(begun)
        assert len(begun) >= 10
        assert all(at_once([partial(line.open().queue.finish, a, PASSED) for a in begun]))


def test_what_was_seen_before_another_attempt_is_not_begun(line):
    seen = line.add()
    line.queue.again(line.begin(seen), Outcome.INTERRUPTED, delay_s=0)
    assert line.queue.begin([(seen, {})], executor="local")[0] is None
    assert line.queue.begin([(line.step(), {})], executor="local")[0] is not None


def test_a_handle_is_kept_while_the_attempt_is_open(line):
    attempt = line.begin(line.add())
    line.queue.note_handles({attempt.key: "123:456"})
    assert line.attempt(attempt.key).handle == "123:456"
    assert line.queue.finish(attempt, PASSED)
    line.queue.note_handles({attempt.key: "late"})
    assert line.queue.open_attempts() == ()


# From running to an end


def test_an_error_is_counted_and_an_interruption_is_not(line):
    line.queue.again(line.begin(line.add()), Outcome.ERROR, delay_s=0)
    line.queue.again(line.begin(line.step()), Outcome.INTERRUPTED, delay_s=0)
    step = line.step()
    assert (step.attempts, step.failures, step.state) == (2, 1, StepState.WAITING)


def test_an_attempt_ends_once_however_many_try(line):
    attempt = line.begin(line.add(gpus=2))
    line.clock.pass_s(10)
    queues = [line.open().queue for _ in range(6)]
    ends = [partial(queue.finish, attempt, PASSED) for queue in queues[:3]]
    agains = [partial(q.again, attempt, Outcome.ERROR, delay_s=0) for q in queues[3:]]
    assert sum(at_once(ends + agains)) == 1
    assert line.queue.used_gpu_s("2026-11-25") == {"team/loras": 20.0}
    assert line.queue.open_attempts() == ()


def test_what_stands_becomes_a_record_and_an_error_does_not(line):
    step = line.add()
    assert line.queue.finish(line.begin(step), PASSED)
    record = line.ledger.find(step.fingerprint)
    assert record is not None
    assert (record.lora, record.stage, record.run_id) == ("mei", Stage.TRAIN, "run-1")
    assert (record.commit, record.parts) == ("c", {"work": "run-1 mei"})
    assert line.queue.result("run-1", "mei", Stage.TRAIN) == PASSED == record.result
    assert line.queue.unfinished("run-1") == ()
    failed = line.add("run-2", "leo")
    assert line.queue.finish(line.begin(failed), ERROR)
    assert line.ledger.find(failed.fingerprint) is None
    assert line.queue.result("run-2", "leo", Stage.TRAIN) == ERROR


def test_a_record_is_of_the_repository_whose_step_made_it(line):
    line.queue.finish(line.begin(line.add(repo="team/a")), PASSED)
    whose = {repo: type(line.ledger)(line.ledger._db, repo=repo) for repo in ("team/a", "team/b")}
    assert len(whose["team/a"].passed("mei", Stage.TRAIN)) == 1
    assert whose["team/b"].passed("mei", Stage.TRAIN) == ()


def test_a_newer_record_takes_the_place_of_an_older_one(line):
    first, second = line.add("run-1", work="a"), line.add("run-2", work="a")
    line.queue.settle(first, PASSED)
    line.clock.pass_s(1)
    line.queue.settle(second, replace(PASSED, metrics={"score": 1.0}))
    record = line.ledger.find(first.fingerprint)
    assert record is not None
    assert (record.run_id, record.result.metrics) == ("run-2", {"score": 1.0})


def test_runs_that_settle_the_same_work_at_once_leave_one_record(line):
    queues = [line.open().queue for _ in range(4)]
    for round_ in range(8):
        steps = [line.add(f"run-{round_}-{n}", work=f"{round_}") for n in range(4)]
        settles = [partial(q.settle, s, PASSED) for q, s in zip(queues, steps, strict=True)]
        assert at_once(settles) == [True] * 4
    assert len(line.ledger.finished_since("")) == 8


def test_only_what_waits_is_settled(line):
    step = line.add()
    line.begin(step)
    assert not line.queue.settle(step, PASSED)
    assert line.ledger.find(step.fingerprint) is None


def test_words_of_any_kind_are_kept(line):
    message = 'NUL \0, quotes \' " \\, emoji 🎨, "\\u0000", line\nend'
    finding = Finding(rule="x", severity=Severity.ERROR, message=message)
    result = StepResult(outcome=Outcome.FAILED, findings=(finding,))
    line.queue.finish(line.begin(line.add()), result)
    assert line.queue.result("run-1", "mei", Stage.TRAIN) == result
    (record,) = line.ledger.finished_since("")
    assert record.result == result


def test_names_as_long_as_they_may_be_are_kept(line):
    lora, repo, run_id = "m" * 64, f"{'o' * 100}/{'r' * 154}", "r" * 64
    attempt = line.begin(line.add(run_id, lora, repo=repo, gpus=1), executor="e" * 32)
    line.queue.note_handles({attempt.key: "h" * 128})
    line.queue.beat(run_id, "o" * 128)
    assert line.attempt(attempt.key).handle == "h" * 128
    line.clock.pass_s(1)
    assert line.queue.finish(attempt, PASSED, log="f" * 64)
    assert line.queue.used_gpu_s("") == {repo: 1.0}


# Stopping


def test_a_run_that_is_stopped_ends_what_waits_and_asks_what_runs(line):
    attempt = line.begin(line.add(lora="runs"))
    line.add(lora="waits")
    other = line.add("run-2", "other")
    line.queue.stop("run-1", "a newer push")
    line.queue.stop("run-1", "again")
    assert line.attempt(attempt.key).stopping == "a newer push"
    interrupted = line.queue.result("run-1", "waits", Stage.TRAIN)
    assert interrupted is not None
    assert interrupted.outcome is Outcome.INTERRUPTED
    assert line.due() == ["other"]
    assert line.step("run-2", "other") == other


def test_a_step_that_is_begun_as_its_run_stops_is_asked_or_never_begun(line):
    queue, other = line.open().queue, line.open().queue
    for round_ in range(12):
        run_id = f"run-{round_}"
        step = line.add(run_id)
        stop = partial(queue.stop, run_id, "why")
        begin = partial(other.begin, [(step, {})], executor="x")
        at_once([stop, begin] if round_ % 2 else [begin, stop])
        asked = {a.step.run_id: a.stopping for a in line.queue.open_attempts()}
        assert asked.get(run_id, "why") == "why"
        assert all(s.state is StepState.RUNNING for s in line.queue.unfinished(run_id))


def test_an_attempt_that_ends_as_its_run_stops_is_the_last(line):
    queue, other = line.open().queue, line.open().queue
    for round_ in range(12):
        run_id = f"run-{round_}"
        attempt = line.begin(line.add(run_id))
        stop = partial(queue.stop, run_id, "why")
        again = partial(other.again, attempt, Outcome.ERROR, delay_s=0)
        at_once([stop, again] if round_ % 2 else [again, stop])
        assert line.queue.unfinished(run_id) == ()
        result = line.queue.result(run_id, "mei", Stage.TRAIN)
        assert result is not None
        assert result.outcome is Outcome.INTERRUPTED


# GPU time, leases, who lives


def test_gpu_time_is_summed_by_repository_and_day(line):
    for lora in ("a", "b", "c"):
        attempt = line.begin(line.add(lora=lora, gpus=2))
        line.clock.pass_s(100)
        line.queue.finish(attempt, PASSED)
        line.clock.pass_s(86_400 - 100)
    line.queue.finish(line.begin(line.add("run-2", repo="small/one")), PASSED)
    assert line.queue.used_gpu_s("2026-11-25") == {"team/loras": 600.0}
    assert line.queue.used_gpu_s("2026-11-26") == {"team/loras": 400.0}
    assert line.queue.used_gpu_s("2027-01-01") == {}


def test_gpu_time_of_attempts_that_end_at_once_is_all_counted(line):
    queues = [line.open().queue for _ in range(6)]
    attempts = [line.begin(line.add(f"run-{n}", gpus=1)) for n in range(6)]
    line.clock.pass_s(10)
    ends = [partial(q.finish, a, PASSED) for q, a in zip(queues, attempts, strict=True)]
    assert at_once(ends) == [True] * 6
    assert line.queue.used_gpu_s("") == {"team/loras": 60.0}


def test_a_clock_that_is_set_back_takes_no_gpu_time_away(line):
    attempt = line.begin(line.add(gpus=1))
    line.clock.pass_s(-3600)
    assert line.queue.finish(attempt, PASSED)
    assert line.queue.used_gpu_s("") == {}


def test_a_lease_has_one_holder(line):
    queues = [line.open().queue for _ in range(6)]
    takes = [partial(q.take_lease, "steps", f"p-{n}", seen=None) for n, q in enumerate(queues)]
    assert sum(at_once(takes)) == 1
    seen = line.queue.lease("steps")
    assert seen is not None
    # As soon as its holder says that it lives, nobody who saw it before takes it.
    assert line.queue.take_lease("steps", seen[0], seen=seen)
    takes = [partial(q.take_lease, "steps", f"p-{n}", seen=seen) for n, q in enumerate(queues)]
    assert not any(at_once(takes))
    now = line.queue.lease("steps")
    takes = [partial(q.take_lease, "steps", f"q-{n}", seen=now) for n, q in enumerate(queues)]
    assert sum(at_once(takes)) == 1


def test_a_lease_tells_by_which_options_its_holder_leads(line):
    assert line.queue.terms("steps") == {}
    line.queue.take_lease("steps", "mine", seen=None, terms={"--parallel": "2"})
    assert line.queue.terms("steps") == {"--parallel": "2"}
    line.queue.take_lease("steps", "other", seen=("mine", 1), terms={"--parallel": "3"})
    assert line.queue.terms("steps") == {"--parallel": "3"}


def test_a_lease_is_given_back_by_its_holder_alone(line):
    assert line.queue.take_lease("steps", "mine", seen=None)
    line.queue.drop_lease("steps", "other")
    assert line.queue.lease("steps") == ("mine", 1)
    line.queue.drop_lease("steps", "mine")
    assert line.queue.lease("steps") is None
    assert line.queue.take_lease("steps", "other", seen=None)


def test_a_beat_grows_with_the_same_owner_or_another(line):
    line.begin(line.add())
    for owner in ("a:1:1", "a:1:1", "b:2:2"):
        line.queue.beat("run-1", owner)
    (attempt,) = line.queue.open_attempts()
    assert (attempt.owner, attempt.beat) == ("b:2:2", 3)
