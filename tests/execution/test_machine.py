"""Full disks, ledgers that are away, clocks that jump: a driver survives, or stops and says why."""

import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from lora_ci.core.clock import SystemClock
from lora_ci.core.step import Outcome
from lora_ci.execution.drive import Driver
from lora_ci.execution.lead import lease_of
from lora_ci.execution.local import LocalExecutor
from lora_ci.ledger.engine import open_engine
from tests.execution.toy import toy_command
from tests.execution.toy_world import (
    HASTY,
    ToyWorld,
    processes_below,
    toy_world,
    until,
    wait_for_progress,
)
from tests.ledgers import new_ledger
from tests.postgres import own_server

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).resolve().parents[2]
AWAY_S = 3.0
WITHOUT_ROOT_POWERS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--")


@pytest.fixture
def world(tmp_path) -> Iterator[ToyWorld]:
    with toy_world(tmp_path) as made:
        yield made


def driver(
    world: ToyWorld, *args: str, run: str = "run-1", before: tuple[str, ...] = (),
    most_bytes: int = 0,
):  # fmt: skip
    """A process that drives the run."""

    def limit() -> None:
        # Who was started in the background of a script ignores it, and so would this.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if most_bytes:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))

    program = [*before, sys.executable, "-m", "tests.execution.killed_driver"]
    return subprocess.Popen(
        [*program, str(world.root), world.url, run, *args],
        cwd=REPOSITORY, stderr=subprocess.PIPE, text=True,
        preexec_fn=limit,  # noqa: PLW1509
    )  # fmt: skip


def ended(process) -> tuple[int, str]:
    """Its exit code, and the last line that it told."""
    _, told = process.communicate(timeout=60)
    return process.returncode, told.strip().splitlines()[-1] if told.strip() else ""


def test_a_disk_that_is_full_for_the_ledger_ends_the_driver_and_loses_nothing(world, tmp_path):
    specs = [world.add(world.spec("journal", lora=f"lora-{n}", units=5, n=n)) for n in range(4)]
    code, told = ended(driver(world, "--patience", "1", most_bytes=64 * 1024))
    assert (code, "cannot be used" in told) == (1, True), told
    assert ended(driver(world)) == (0, "")
    for spec in specs:
        assert world.outcome(spec) is Outcome.PASSED
        assert (world.folder(spec).path / "journal").read_text().count("end") == 1
    assert not list(processes_below(tmp_path))


@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv (util-linux)")
def test_a_state_folder_that_cannot_be_written_is_told(world, tmp_path):
    spec = world.add(world.spec(""))
    (tmp_path / "steps").mkdir(mode=0o555)
    before = WITHOUT_ROOT_POWERS if os.geteuid() == 0 else ()
    code, told = ended(driver(world, "--failures", "2", before=before))
    assert (code, told.startswith("step.again step=train of pass attempt=2 ")) == (0, True), told
    (finding,) = world.result(spec).findings
    assert (world.outcome(spec), finding.rule) == (Outcome.ERROR, "machine.refused")
    assert str(tmp_path / "steps") in finding.message
    # What cannot be made is not there to be looked at.
    assert finding.hint == f"next: ls -ld {tmp_path / 'steps'}; is it yours to read and write?"


@pytest.mark.needs_postgres
def test_a_database_that_is_away_for_some_time_is_waited_for(tmp_path):
    with own_server() as server:
        open_engine(server.url("postgres")).dispose()
        with toy_world(tmp_path, server.url("postgres")) as world:
            specs = [world.add(world.spec("journal", units=40)), world.add(world.spec(""))]
            process = driver(world)
            wait_for_progress(world.folder(specs[0]))
            server.stop()
            # The step ends meanwhile.
            time.sleep(AWAY_S)
            server.start()
            code, told = ended(process)
            assert (code, told.split()[0]) == (0, "ledger.away")
            assert [world.result(spec).metrics for spec in specs] == [{"calls": 1.0}] * 2


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A real, small file system."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("mounting a small tmpfs needs root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_is_full_for_the_ledger_for_some_time_is_waited_for(tmp_path, small_disk):
    with toy_world(tmp_path / "world", new_ledger(small_disk)) as world:
        specs = [world.add(world.spec("journal", units=40)), world.add(world.spec(""))]
        process = driver(world)
        wait_for_progress(world.folder(specs[0]))
        large = small_disk / "large"
        with pytest.raises(OSError, match="No space left"):
            large.write_bytes(b"x" * 500_000)
        time.sleep(AWAY_S)
        large.unlink()
        code, told = ended(process)
        assert (code, told.split()[0]) == (0, "ledger.away"), told
        assert "is full" in told
        assert [world.result(spec).metrics for spec in specs] == [{"calls": 1.0}] * 2


def test_a_database_that_another_has_locked_is_waited_for(world, tmp_path):
    specs = [world.add(world.spec("journal", units=40)), world.add(world.spec(""))]
    process = driver(world)
    wait_for_progress(world.folder(specs[0]))
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    time.sleep(AWAY_S)
    other.execute("ROLLBACK")
    other.close()
    assert ended(process) == (0, "")
    assert [world.result(spec).metrics for spec in specs] == [{"calls": 1.0}] * 2


def test_a_signal_ends_a_run_and_all_that_it_began(world, tmp_path):
    heeds, hangs, waits = (world.add(world.spec(do)) for do in ("wait", "hang", "journal"))
    process = driver(world, "--room", "2")
    wait_for_progress(world.folder(heeds))
    wait_for_progress(world.folder(hangs))
    process.send_signal(signal.SIGINT)
    code, told = ended(process)
    assert (code, len(told.splitlines())) == (130, 1)
    assert told.startswith("run.stopping steps=2 ")
    assert {world.outcome(spec) for spec in (heeds, hangs, waits)} == {Outcome.INTERRUPTED}
    assert [len(world.attempts(spec)) for spec in (heeds, hangs, waits)] == [1, 1, 0]
    assert not list(processes_below(tmp_path))


def test_a_signal_ends_what_a_dead_run_began_and_this_one_waits_for(world, tmp_path):
    spec = world.add(world.spec("wait"))
    first = driver(world)
    wait_for_progress(world.folder(spec))
    first.kill()
    first.wait()
    world.add(spec, "run-2")
    second = driver(world, run="run-2")
    until(lambda: (world.ledger.queue.lease(lease_of("local")) or ("",))[0].split(":")[1:2]
          == [str(second.pid)], "the lead")  # fmt: skip
    second.send_signal(signal.SIGINT)
    code, told = ended(second)
    assert (code, told.split()[:2]) == (130, ["run.stopping", "steps=1"])
    assert world.outcome(spec) is world.outcome(spec, "run-2") is Outcome.INTERRUPTED
    assert len(world.attempts(spec)) == 1
    assert not list(processes_below(tmp_path))


def test_a_second_signal_leaves_the_steps_to_themselves(world):
    spec = world.add(world.spec("hang"))
    executor = LocalExecutor(world.root / "objects", world.root / "cache", command=toy_command)
    reconciler = world.reconciler(executor, policy=replace(HASTY, grace_s=60.0))

    class Impatient(SystemClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if world.folder(spec).read_progress() is not None:
                raise KeyboardInterrupt

    driver = Driver(reconciler=reconciler, clock=Impatient(), watch=lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        driver.drive("run-1")
    (attempt,) = world.ledger.queue.open_attempts()
    assert attempt.stopping
    driver.stop("run-1")
    assert len(world.ledger.queue.open_attempts()) == 1
    executor.cancel(attempt.handle, hard=True)
    reconciler.ledger.close()


def test_a_leader_that_stands_still_is_replaced_and_may_come_back(world, tmp_path):
    first = [world.add(world.spec("journal", lora=f"a{n}", units=60, n=n)) for n in range(2)]
    still = driver(world, "--room", "1")
    wait_for_progress(world.folder(first[0]))
    still.send_signal(signal.SIGSTOP)
    try:
        second = world.add(world.spec("journal", lora="b", units=5), "run-2")
        assert ended(driver(world, "--room", "1", run="run-2")) == (0, "")
        assert world.outcome(second, "run-2") is Outcome.PASSED
    finally:
        still.send_signal(signal.SIGCONT)
    assert ended(still) == (0, "")
    for spec in first:
        assert world.result(spec).metrics == {"calls": 1.0}
    assert not list(processes_below(tmp_path))


class Hurried(SystemClock):
    """Nobody waits by it, and after a minute somebody presses Ctrl-C."""

    def __init__(self) -> None:
        self._at = 0.0

    def monotonic(self) -> float:
        return self._at

    def sleep(self, seconds: float) -> None:
        self._at += seconds
        if self._at > 60:
            raise KeyboardInterrupt


def test_a_run_of_which_nothing_goes_on_says_so_once(world, tmp_path, caplog):
    world.add(world.spec(""))
    (step,) = world.ledger.queue.unfinished("run-1")
    assert world.ledger.queue.begin([(step, {})], executor="local")[0]
    (attempt,) = world.ledger.queue.open_attempts()
    world.ledger.queue.again(attempt, Outcome.ERROR, delay_s=300)
    executor = LocalExecutor(tmp_path / "objects", tmp_path / "cache", command=toy_command)
    clock = Hurried()
    reconciler = world.reconciler(executor, clock=clock)
    driving = Driver(reconciler=reconciler, clock=clock, watch=lambda *_: None)
    assert not driving.drive("run-1")
    told = [record.getMessage() for record in caplog.records]
    assert told == ["run.waits steps=1 next: lora-ci status run-1, for what"]


class Jumping(SystemClock):
    """Its wall clock is an hour off, or is not, each time that it is read."""

    def __init__(self) -> None:
        self._random = random.Random(3)

    def now(self) -> datetime:
        return super().now() + timedelta(hours=self._random.choice((-1, 0, 1)))


def test_a_wall_clock_that_jumps_hinders_nothing(world, tmp_path):
    specs = {do: world.add(world.spec(do)) for do in ("", "fail", "break", "die-once", "daemon")}
    executor = LocalExecutor(tmp_path / "objects", tmp_path / "cache", command=toy_command)
    world.drive(executor, clock=Jumping())
    outcomes = {do: world.outcome(spec) for do, spec in specs.items()}
    passed = dict.fromkeys(("", "die-once", "daemon"), Outcome.PASSED)
    assert outcomes == passed | {"fail": Outcome.FAILED, "break": Outcome.ERROR}
    assert len(world.attempts(specs["break"])) == HASTY.failures
    assert not list(processes_below(tmp_path))
