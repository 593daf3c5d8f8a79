"""Executors that do not tell the truth, processes that are restarted: steps come to their end."""

import math
import os
import shutil
import signal
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import InfrastructureError
from lora_ci.core.step import Outcome, Resources
from lora_ci.execution.drive import Driver
from lora_ci.execution.executor import Attempt, ExecutorAwayError, Phase, step_folder
from lora_ci.execution.lead import this_process
from lora_ci.execution.local import LocalExecutor
from tests.execution.toy import toy_command
from tests.execution.toy_world import (
    HASTY,
    ToyWorld,
    processes_below,
    toy_world,
    until,
    wait_for_end,
    wait_for_progress,
)

pytestmark = pytest.mark.slow


def local(world: ToyWorld) -> LocalExecutor:
    return LocalExecutor(world.root / "objects", world.root / "cache", command=toy_command)


@dataclass
class Odd:
    """A local executor whose first calls fail.

    It says `says` of every attempt for the first `lies` times that it is asked.
    """

    real: LocalExecutor
    says: Phase = Phase.ENDED
    lies: float = 0
    clears: bool = True
    lag_s: float = 0.0
    fails: dict[str, int] = field(default_factory=dict)
    name: str = "local"

    def _may_fail(self, what: str) -> None:
        if self.fails.get(what, 0) > 0:
            self.fails[what] -= 1
            raise InfrastructureError(f"{what}: nobody answers")

    def submit(self, attempt: Attempt) -> str:
        self._may_fail("submit")
        return self.real.submit(attempt)

    def phases(self, handles: Collection[str]) -> Mapping[str, Phase]:
        self._may_fail("phases")
        if handles and self.lies > 0:
            self.lies -= 1
            return dict.fromkeys(handles, self.says)
        return self.real.phases(handles)

    def cancel(self, handle: str, *, hard: bool) -> None:
        self._may_fail("cancel")
        self.real.cancel(handle, hard=hard)

    def clear(self, handle: str) -> None:
        self._may_fail("clear")
        if self.clears:
            self.real.clear(handle)


@pytest.fixture
def world(tmp_path) -> Iterator[ToyWorld]:
    with toy_world(tmp_path) as made:
        yield made


@pytest.mark.parametrize("clears", [True, False])
def test_an_executor_that_takes_what_runs_for_ended_does_no_work_twice(world, clears):
    spec = world.add(world.spec("journal", units=30))
    executor = Odd(local(world), says=Phase.ENDED, lies=4, clears=clears)
    world.drive(executor, policy=replace(HASTY, failures=100))
    assert world.outcome(spec) is Outcome.PASSED
    assert_one_at_a_time(world.folder(spec).path / "journal")


def test_an_executor_that_takes_all_for_ended_ends_in_an_error(world):
    spec = world.add(world.spec("journal", units=100))
    world.drive(Odd(local(world), says=Phase.ENDED, lies=math.inf))
    assert world.outcome(spec) is Outcome.ERROR
    assert not list(processes_below(world.root))


def test_a_step_that_runs_on_unseen_keeps_others_out_of_its_folder(world):
    spec = world.spec("journal", units=30)
    # Somebody began it, and no ledger knows of that.
    local(world).submit(world.attempt(spec, "step-9-9"))
    wait_for_progress(world.folder(spec))
    world.add(spec)
    world.drive(local(world))
    assert world.result(spec).metrics == {"calls": 1.0}
    assert (world.folder(spec).path / "journal").read_text().count("begin") == 1


def assert_one_at_a_time(journal: Path) -> None:
    """Whoever began had ended, or was gone, before the next began; one came to the end."""
    lines = [line.split() for line in journal.read_text().splitlines()]
    for (word, pid), (next_word, next_pid) in pairwise(lines):
        assert next_pid == pid or (word, next_word) in {("begin", "begin"), ("stop", "begin")}
    assert [word for word, _ in lines].count("end") == 1


def test_an_executor_that_never_sees_an_end_is_overruled_by_the_result(world):
    spec = world.add(world.spec(""))
    world.drive(Odd(local(world), says=Phase.RUNNING, lies=math.inf))
    assert world.outcome(spec) is Outcome.PASSED
    assert world.result(spec).metrics == {"calls": 1.0}


@pytest.mark.parametrize(
    "fails", [{"phases": 3}, {"clear": 3}, {"phases": 2, "clear": 1, "cancel": 1}]
)
def test_an_executor_that_does_not_answer_is_asked_again(world, fails):
    spec = world.add(world.spec(""))
    world.drive(Odd(local(world), fails=dict(fails)))
    assert world.result(spec).metrics == {"calls": 1.0}


def test_an_attempt_that_could_not_be_started_counts_as_an_error(world):
    spec = world.add(world.spec(""))
    world.drive(Odd(local(world), fails={"submit": 1}))
    assert world.outcome(spec) is Outcome.PASSED
    assert [a["outcome"] for a in world.attempts(spec)] == ["error", "passed"]


@pytest.mark.parametrize(("lag_s", "outcomes"), [(60.0, ["passed"]), (0.0, ["error", "passed"])])
def test_a_result_may_arrive_after_the_end_as_late_as_the_executor_says(world, lag_s, outcomes):
    spec = world.add(world.spec(""))
    executor = Odd(local(world), lag_s=lag_s)
    reconciler = world.reconciler(executor)
    reconciler.ledger.queue.beat("run-1", this_process())
    reconciler.tick()
    (attempt,) = reconciler.ledger.queue.open_attempts()
    wait_for_end(executor, attempt.handle)
    result = world.folder(spec).path / "result.json"
    late = result.rename(world.root / "late")
    reconciler.tick()
    late.rename(result)
    until(lambda: reconciler.tick() or not world.ledger.queue.unfinished("run-1"), "the end")
    assert [a["outcome"] for a in world.attempts(spec)] == outcomes
    # What arrived too late is the next attempt's: no work is done again.
    assert world.result(spec).metrics == {"calls": 1.0}


def test_everything_may_be_new_at_every_turn(world):
    specs = [world.add(world.spec(do)) for do in ("", "fail", "break", "die-once", "daemon")]
    world.ledger.queue.beat("run-1", this_process())

    def turn() -> bool:
        reconciler = world.reconciler(local(world), room=2)
        reconciler.tick()
        left = reconciler.ledger.queue.unfinished("run-1")
        reconciler.ledger.close()
        return not left

    until(turn, "the end of the run")
    passed, failed, broken, died, daemon = specs
    assert world.outcome(passed) is world.outcome(died) is world.outcome(daemon) is Outcome.PASSED
    assert (world.outcome(failed), world.outcome(broken)) == (Outcome.FAILED, Outcome.ERROR)
    assert len(world.attempts(broken)) == HASTY.failures
    assert not list(processes_below(world.root))


def test_a_ledger_that_begins_anew_does_not_take_old_attempts_for_its_own(world):
    """A damaged ledger is put aside, as its error says; the folders of steps stay."""
    spec = world.add(world.spec("break"))
    world.drive(local(world))
    world.ledger.close()
    anew = ToyWorld(world.root / "anew")
    shutil.copytree(world.root / "steps", anew.root / "steps")
    anew.add(spec)
    anew.drive(local(anew))
    calls = step_folder(anew.root, spec.fingerprint).workdir / "calls"
    assert calls.read_text() == str(2 * HASTY.failures)


def test_a_step_that_is_begun_again_says_why(world, caplog):
    world.add(world.spec("die-once"))
    world.drive(local(world))
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "step.again step=train of die-once attempt=2 in_s=0 why=train of die-once ended without a "
        "result: it was killed, or ran out of memory"
    ]


class Ahead(SystemClock):
    """A clock of some time later."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self._seconds)


@pytest.mark.parametrize("do", ["wait", "journal"])
def test_gpus_are_used_until_the_last_sign_of_life(world, do):
    """Where it died, or ended, while nobody looked: over a weekend, say."""
    spec = replace(world.spec(do, units=20), resources=Resources(gpus=1))
    world.add(spec)
    world.ledger.queue.beat("run-1", this_process())
    world.reconciler(local(world)).tick()
    (attempt,) = world.ledger.queue.open_attempts()
    wait_for_progress(world.folder(spec))
    if do == "wait":
        local(world).cancel(attempt.handle, hard=True)
    wait_for_end(local(world), attempt.handle)
    world.reconciler(
        local(world), clock=Ahead(2 * 86_400), policy=replace(HASTY, failures=1)
    ).tick()
    assert not world.ledger.queue.open_attempts()
    (used,) = world.ledger.queue.used_gpu_s("").values()
    assert 0 <= used < 3600


@dataclass
class Nobody:
    """A cluster that is not there, or goes away after it has answered some times."""

    real: LocalExecutor
    answers: int = 0
    lag_s: float = 0.0
    name: str = "slurm"

    def _ask(self) -> None:
        if self.answers <= 0:
            raise ExecutorAwayError("connection refused", hint="next: scontrol ping")
        self.answers -= 1

    def submit(self, attempt: Attempt) -> str:
        self._ask()
        return self.real.submit(attempt)

    def phases(self, handles: Collection[str]) -> Mapping[str, Phase]:
        if handles:
            self._ask()
        return self.real.phases(handles)

    def cancel(self, handle: str, *, hard: bool) -> None:
        self.real.cancel(handle, hard=hard)

    def clear(self, handle: str) -> None:
        self.real.clear(handle)


class Hurried(SystemClock):
    """Nobody waits by it; after an hour somebody presses Ctrl-C."""

    def __init__(self) -> None:
        self._at = 0.0

    def monotonic(self) -> float:
        return self._at

    def sleep(self, seconds: float) -> None:
        self._at += 100 * seconds
        if self._at > 3600:
            raise KeyboardInterrupt


def test_a_run_with_a_cluster_that_never_answers_ends_and_is_gone_on_with(world):
    spec = world.add(world.spec(""))
    with pytest.raises(ExecutorAwayError, match="did not answer once in 10 minutes; the same"):
        world.drive(Nobody(local(world)), clock=Hurried())
    (attempt,) = world.ledger.queue.open_attempts()
    assert attempt.handle is None
    again = world.add(spec, "run-2")
    world.drive(Nobody(local(world), answers=1000), run="run-2")
    assert world.result(again, "run-2").metrics == {"calls": 1.0}


def test_a_cluster_that_has_answered_is_waited_for(world):
    world.add(world.spec("wait"))
    clock, executor = Hurried(), Nobody(local(world), answers=3)
    reconciler = world.reconciler(executor, clock=clock)
    driver = Driver(reconciler=reconciler, clock=clock, watch=lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        # The second is that of the stop, which waits by the same clock.
        driver.drive("run-1")


def test_an_attempt_that_another_is_about_to_start_is_waited_for(world):
    attempt = world.attempt(world.spec("wait"))
    first = local(world).submit(attempt)
    file = attempt.folder.path / "attempts" / attempt.key
    written = file.read_text()
    file.write_text("")
    writer = threading.Timer(0.3, file.write_text, [written])
    writer.start()
    assert local(world).submit(attempt) == first
    writer.join()
    local(world).cancel(first, hard=True)
    wait_for_end(local(world), first)


def test_an_attempt_whose_process_died_as_it_began_is_made_again(world):
    spec = world.add(world.spec(""))
    (step,) = world.ledger.queue.unfinished("run-1")
    key = world.ledger.queue.begin([(step, {})], executor="local")[0]
    # Its file is there, and it was killed before it wrote who it is.
    file = world.folder(spec).path / "attempts" / key
    file.parent.mkdir(parents=True)
    file.touch()
    world.drive(local(world))
    assert world.outcome(spec) is Outcome.PASSED
    assert [a["outcome"] for a in world.attempts(spec)] == ["error", "passed"]


def test_a_process_that_starts_another_and_ends_does_not_get_away(world):
    spec = world.add(world.spec("runaway"))
    try:
        world.drive(local(world))
        assert world.outcome(spec) is Outcome.PASSED
        assert not list(processes_below(world.root))
    finally:
        (world.folder(spec).path / "spec.json").unlink()


def test_what_takes_its_mark_off_is_not_found(world):
    """The limit of what is contained: a process that left its session and its environment."""
    spec = world.add(world.spec("unmarked-daemon"))
    world.drive(local(world))
    left = int((world.folder(spec).path / "daemon.pid").read_text())
    assert b"sleep" in Path(f"/proc/{left}/cmdline").read_bytes()
    os.kill(left, signal.SIGKILL)
