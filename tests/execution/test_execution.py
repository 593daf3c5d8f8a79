"""Steps are executed once, whatever dies, on every executor; the ledger keeps what came of it."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lora_ci.core.clock import SystemClock
from lora_ci.core.event import Event, EventKind
from lora_ci.core.fingerprint import make_fingerprint
from lora_ci.core.plan import Action, Decision
from lora_ci.core.step import Outcome, Resources, Stage, StepSpec
from lora_ci.execution.drive import Driver
from lora_ci.execution.executor import Attempt, Executor, Phase, step_folder
from lora_ci.execution.inline import InlineExecutor
from lora_ci.execution.lead import Leadership, lease_of
from lora_ci.execution.local import LocalExecutor
from lora_ci.execution.tick import Policy, Reconciler
from lora_ci.ledger.ledger import Ledger, open_ledger
from lora_ci.steps.folder import MAX_BYTES, StepFolder
from lora_ci.steps.main import exec_step
from lora_ci.store.local import LocalStore
from tests.execution.toy import TABLE, toy_command
from tests.ledgers import drop_ledger, new_ledger

pytestmark = pytest.mark.slow


class World:
    """A ledger, an executor and a run on disk."""

    def __init__(self, root: Path, kind: str, url: str | None = None) -> None:
        self.root = root
        self.url = url or new_ledger(root)
        self.clock = SystemClock()
        self.store = LocalStore(root / "objects")
        self.ledger = self.open()
        self.executor: Executor = InlineExecutor(self.store, root / "cache", table=TABLE)
        if kind == "local":
            self.executor = LocalExecutor(root / "objects", root / "cache", command=toy_command)
        self.ledger.start_run("run-1", Event(kind=EventKind.PUSH, repo="r", head="h"))

    def open(self) -> Ledger:
        return open_ledger(self.url, self.clock)

    def add(self, do: str = "", stage: Stage = Stage.TRAIN) -> StepSpec:
        fingerprint = make_fingerprint(stage, {"do": do})
        decision = Decision(
            lora="mei", stage=stage, action=Action.RUN, why="test", fingerprint=fingerprint
        )
        spec = StepSpec(
            stage=stage, lora="mei", fingerprint=fingerprint.value, inputs={},
            params={"do": do}, resources=Resources(timeout_s=60),
        )  # fmt: skip
        folder = step_folder(self.root, spec.fingerprint).path
        self.ledger.queue.add("run-1", decision, spec, commit="c", folder=folder)
        self.ledger.queue.add("run-1", decision, spec, commit="c", folder=folder)
        return spec

    def drive(self) -> None:
        alone = self.executor.name == "inline"
        reconciler = Reconciler(
            ledger=self.ledger, executor=self.executor, store=self.store, clock=self.clock,
            run_id="run-1" if alone else None, policy=Policy(delays_s=(0.0,)),
        )  # fmt: skip
        lead = (
            None
            if alone
            else Leadership(
                queue=self.ledger.queue, clock=self.clock, name=lease_of(self.executor.name)
            )
        )
        driver = Driver(reconciler=reconciler, clock=self.clock, watch=lambda *_: None, lead=lead)
        assert driver.drive("run-1")

    def result(self, stage: Stage = Stage.TRAIN):
        return self.ledger.queue.result("run-1", "mei", stage)


PLACES = [
    ("inline", "sqlite"),
    ("local", "sqlite"),
    pytest.param(("local", "postgresql"), marks=pytest.mark.needs_postgres),
]


@pytest.fixture(params=PLACES, ids="-".join)
def world(request, tmp_path) -> Iterator[World]:
    """Steps at an executor, in a ledger of a kind."""
    executor, kind = request.param
    url = new_ledger(tmp_path, kind)
    yield World(tmp_path, executor, url)
    drop_ledger(url)


def test_a_step_passes_and_is_recorded(world):
    spec = world.add()
    world.drive()
    assert world.result().outcome is Outcome.PASSED
    record = world.ledger.find(spec.fingerprint)
    assert (record.lora, record.commit, record.run_id) == ("mei", "c", "run-1")
    assert record.parts == {"do": ""}
    assert world.store.get(record.result.artifact("out.txt").sha256).read_text() == "made"
    assert world.ledger.passed("mei", Stage.TRAIN) == (record,)
    assert world.result().timings_s["total"] >= 0


def test_a_failed_step_is_recorded_and_not_tried_again(world):
    spec = world.add("fail")
    world.drive()
    assert world.result().outcome is Outcome.FAILED
    assert world.ledger.find(spec.fingerprint).result.outcome is Outcome.FAILED
    assert world.ledger.passed("mei", Stage.TRAIN) == ()
    assert (step_folder(world.root, spec.fingerprint).workdir / "calls").read_text() == "1"


@pytest.mark.parametrize("do", ["break", "crash", "full"])
def test_an_error_is_tried_three_times_and_leaves_no_record(world, do):
    spec = world.add(do)
    world.drive()
    assert world.result().outcome is Outcome.ERROR
    assert world.ledger.find(spec.fingerprint) is None
    assert (step_folder(world.root, spec.fingerprint).workdir / "calls").read_text() == "3"


def test_a_full_disk_is_named(world):
    world.add("full")
    world.drive()
    assert world.result().findings[0].rule == "machine.disk-full"


def test_a_worker_that_is_killed_is_started_again(tmp_path):
    world = World(tmp_path, "local")
    world.add("die-once")
    world.drive()
    assert world.result().metrics == {"calls": 2.0}


def test_a_driver_that_dies_leaves_work_that_another_adopts(tmp_path):
    world = World(tmp_path, "local")
    spec = world.add("slow")
    folder = step_folder(world.root, spec.fingerprint)
    folder.write_spec(spec)
    # The driver got as far as starting the step, and then it died.
    step = world.ledger.queue.unfinished("run-1")[0]
    key = world.ledger.queue.begin([(step, {})], executor="local")[0]
    world.executor.submit(Attempt(key=key, folder=folder, spec=spec))
    world.ledger = world.open()
    world.drive()
    assert world.result().outcome is Outcome.PASSED
    assert world.result().metrics == {"calls": 1.0}


def test_two_processes_at_one_step_do_it_once(tmp_path):
    world = World(tmp_path, "inline")
    spec = world.add()
    folder = step_folder(world.root, spec.fingerprint)
    folder.write_spec(spec)
    command = toy_command(folder, world.store.root, tmp_path / "cache")
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    assert folder.read_result(spec.fingerprint).metrics == {"calls": 1.0}


def test_cancel_leaves_nothing_behind(tmp_path):
    world = World(tmp_path, "local")
    spec = world.add("wait")
    folder = step_folder(world.root, spec.fingerprint)
    folder.write_spec(spec)
    handle = world.executor.submit(Attempt(key="step-1-1", folder=folder, spec=spec))
    deadline = time.monotonic() + 60
    while folder.read_progress() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    world.executor.cancel(handle, hard=False)
    while world.executor.phases([handle])[handle] is not Phase.ENDED:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert folder.read_result(spec.fingerprint).outcome is Outcome.INTERRUPTED
    with pytest.raises(ProcessLookupError):
        os.killpg(int(handle.partition(":")[0]), 0)


def test_a_torn_or_foreign_result_is_never_adopted(tmp_path):
    folder = StepFolder(tmp_path / "step")
    world = World(tmp_path, "inline")
    spec = world.add()
    folder.write_spec(spec)
    exec_step(folder, world.store, tmp_path / "cache", table=TABLE)
    path = folder.path / "result.json"
    whole = path.read_bytes()
    assert folder.read_result(spec.fingerprint) is not None
    assert folder.read_result("0" * 64) is None
    for data in (whole[:-7], whole.replace(b"passed", b"failed", 1), b"", b"[]"):
        path.write_bytes(data)
        assert folder.read_result(spec.fingerprint) is None


def test_a_huge_file_is_no_result(tmp_path):
    folder = StepFolder(tmp_path / "step")
    folder.path.mkdir()
    with (folder.path / "result.json").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert folder.read_result("f" * 64) is None
