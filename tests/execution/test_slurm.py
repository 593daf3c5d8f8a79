"""What only a SLURM cluster has: GPUs in turn, limits and preemption, a controller that is away."""

import logging
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lora_ci.core.errors import InfrastructureError
from lora_ci.core.step import Outcome, Resources, StepResult, StepSpec
from lora_ci.execution.executor import Attempt, ExecutorAwayError, Phase, step_folder
from lora_ci.execution.lead import this_process
from lora_ci.execution.local import exec_step_command
from lora_ci.execution.slurm import SlurmExecutor
from lora_ci.execution.tick import Reconciler
from lora_ci.steps.folder import StepFolder
from tests.execution.slurm_world import Cluster, cluster, slurm_executor
from tests.execution.toy import toy_command
from tests.execution.toy_world import (
    ToyWorld,
    processes_below,
    until,
    wait_for_end,
    wait_for_progress,
)
from tests.first_chapter import tell_first_chapter
from tests.tiny_sd import write_dataset
from tests.training.test_team import SETTINGS, spec_of

pytestmark = pytest.mark.slow


@pytest.fixture
def slurm() -> Iterator[Cluster]:
    """The cluster, free again at the end."""
    yield cluster()
    cluster().ask("scancel", f"--user={os.getuid()}")
    until(lambda: not cluster().ask("squeue", "-hao%i"), "an empty queue")


@pytest.fixture
def world(slurm, tmp_path) -> ToyWorld:
    return ToyWorld(tmp_path / "100 %j")


@pytest.fixture
def executor(world) -> Iterator[SlurmExecutor]:
    with slurm_executor(world.root, toy_command) as made:
        yield made


def phase(executor: SlurmExecutor, handle: str) -> Phase:
    return executor.phases([handle])[handle]


def tick(reconciler: Reconciler) -> None:
    for run in ("run-1", "run-2"):
        reconciler.ledger.queue.beat(run, this_process())
    reconciler.tick()


def tick_until(reconciler: Reconciler, true: Callable[[], object], what: str) -> None:
    def ticked() -> bool:
        tick(reconciler)
        return bool(true())

    until(ticked, what)


def outcomes(world: ToyWorld, spec: StepSpec) -> list[object]:
    return [attempt["outcome"] for attempt in world.attempts(spec)]


# Resources


def test_steps_share_the_gpus_that_there_are(world, executor):
    attempts = {}
    for number in range(3):
        spec = replace(world.spec("wait", number=number), resources=Resources(gpus=2))
        attempt = world.attempt(spec, key=f"step-{number}-1")
        attempts[executor.submit(attempt)] = attempt
    until(lambda: list(executor.phases(attempts).values()).count(Phase.RUNNING) == 2, "two run")
    (waits,) = [h for h, seen in executor.phases(attempts).items() if seen is Phase.QUEUED]
    run = [attempt.folder for handle, attempt in attempts.items() if handle != waits]
    for folder in run:
        wait_for_progress(folder)
    assert sorted(gpus_of(run[0]) + gpus_of(run[1])) == ["0", "1", "2", "3"]
    assert attempts[waits].folder.read_progress() is None
    executor.cancel(next(h for h in attempts if h != waits), hard=False)
    wait_for_progress(attempts[waits].folder)
    for handle in attempts:
        executor.cancel(handle, hard=False)
        wait_for_end(executor, handle)


def gpus_of(folder: StepFolder) -> list[str]:
    (pid,) = processes_below(folder.path)
    environment = Path(f"/proc/{pid}/environ").read_text().split("\0")
    (shown,) = [line for line in environment if line.startswith("CUDA_VISIBLE_DEVICES=")]
    return shown.partition("=")[2].split(",")


def test_a_step_may_have_several_machines(world):
    def start_on_each(folder: StepFolder, store: Path, cache: Path) -> list[str]:
        return ["srun", "--ntasks-per-node=1", "--overlap", "printenv", "SLURMD_NODENAME"]

    spec = replace(world.spec(""), resources=Resources(nodes=2))
    with slurm_executor(world.root, start_on_each, partition="both") as executor:
        attempt = world.attempt(spec)
        wait_for_end(executor, executor.submit(attempt))
    assert sorted(attempt.folder.log.read_text().split()) == ["one", "two"]


def test_machines_of_the_cluster_train_one_adapter(slurm, tmp_path, tiny_sd):
    write_dataset(tmp_path / "dataset")
    spec = spec_of(tmp_path, tiny_sd, replace(SETTINGS, steps=6), 0)
    spec = replace(spec, resources=Resources(nodes=2))
    folder = step_folder(tmp_path, spec.fingerprint)
    folder.write_spec(spec)
    with slurm_executor(tmp_path, exec_step_command, partition="both") as executor:
        handle = executor.submit(Attempt(key="step-1-1", folder=folder, spec=spec))
        until(lambda: phase(executor, handle) is Phase.ENDED, "the end", deadline_s=300.0)
    result = folder.read_result(spec.fingerprint)
    assert result is not None, folder.log.read_text()
    assert (result.outcome, result.details["processes"]) == (Outcome.PASSED, 2), result.findings


def test_the_demo_begins_there(slurm, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", str(slurm.conf))
    chapter = tell_first_chapter(tmp_path, "slurm")
    assert chapter.as_expected, chapter.text


def test_what_the_environment_asks_of_sbatch_is_heeded(world, executor, slurm, monkeypatch):
    monkeypatch.setenv("SBATCH_PARTITION", "urgent")
    monkeypatch.setenv("SBATCH_TIMELIMIT", "77")
    handle = executor.submit(world.attempt(world.spec("wait")))
    told = slurm.ask("squeue", "-ha", f"--name={handle}", "-o%P|%l")
    assert told.strip() == "urgent|1:17:00"


def test_gpus_of_the_machine_that_submits_are_nothing_to_a_job(world, executor, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    spec = world.spec("environment")
    attempt = world.attempt(spec)
    wait_for_end(executor, executor.submit(attempt))
    found = attempt.folder.read_result(spec.fingerprint).details["environment"]
    assert "CUDA_VISIBLE_DEVICES" not in found


# What SLURM ends


def test_a_limit_of_slurm_leaves_a_checkpoint_and_the_step_waits_again(world):
    spec = world.add(world.spec("journal", units=3000))
    # As early as SLURM can: it looks at limits every 30 s, and knows minutes only.
    limits = ("--partition=short", "--time=1", "--signal=B:TERM@59")
    with slurm_executor(world.root, toy_command, options=limits) as executor:
        reconciler = world.reconciler(executor)
        tick_until(reconciler, lambda: len(outcomes(world, spec)) == 2, "a second attempt")
    assert outcomes(world, spec)[0] == "interrupted"
    assert int((world.folder(spec).workdir / "done").read_text()) > 0


def test_a_step_that_is_preempted_goes_on_where_it_was(world, executor, slurm):
    spec = world.add(world.spec("journal", units=100))
    folder = world.folder(spec)
    reconciler = world.reconciler(executor)
    tick_until(reconciler, folder.read_progress, "progress")
    slurm.ask("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=true")
    tick_until(reconciler, lambda: not world.ledger.queue.unfinished("run-1"), "the end")
    assert outcomes(world, spec) == ["interrupted", "passed"]
    journal = (folder.path / "journal").read_text().split()
    assert journal[::2] == ["begin", "stop", "begin", "end"]


def test_a_node_that_fails_costs_one_attempt(world, executor, slurm):
    spec = world.add(world.spec("journal", units=60))
    folder = world.folder(spec)
    reconciler = world.reconciler(executor)
    tick_until(reconciler, folder.read_progress, "progress")
    slurm.ask("scontrol", "update", "NodeName=one", "State=DOWN", "Reason=test")
    try:
        tick_until(reconciler, lambda: len(outcomes(world, spec)) == 2, "a second attempt")
        (waits,) = [a["handle"] for a in world.attempts(spec) if a["outcome"] is None]
        assert phase(executor, waits) is Phase.QUEUED
    finally:
        slurm.ask("scontrol", "update", "NodeName=one", "State=RESUME")
    tick_until(reconciler, lambda: not world.ledger.queue.unfinished("run-1"), "the end")
    assert outcomes(world, spec)[1:] == ["passed"]


def test_a_job_that_has_not_begun_is_stopped_at_once(world):
    spec = world.add(world.spec("wait"))
    with slurm_executor(world.root, toy_command, partition="short", lag_s=1e6) as executor:
        reconciler = world.reconciler(executor)
        tick_until(reconciler, lambda: world.attempts(spec), "the attempt")
        world.ledger.queue.stop("run-1", "by the test")
        tick_until(reconciler, lambda: not world.ledger.queue.unfinished("run-1"), "the end")
    assert world.result(spec) == StepResult(outcome=Outcome.INTERRUPTED)


# A controller that is away


def test_a_controller_that_is_away_ends_nothing(world, executor, slurm):
    first = world.add(world.spec("journal", units=150))
    reconciler = world.reconciler(executor)
    tick_until(reconciler, world.folder(first).read_progress, "progress")
    (attempt,) = world.attempts(first)
    handle = str(attempt["handle"])
    state = slurm.folder / "state" / "job_state"
    until(lambda: state.exists() and handle.encode() in state.read_bytes(), "the saved state")
    slurm.kill_controller()
    try:
        executor.every_s = 0.0
        with pytest.raises(ExecutorAwayError, match="SLURM does not answer") as e:
            executor.phases([handle])
        assert e.value.findings[0].hint == "next: scontrol ping"
        with pytest.raises(ExecutorAwayError):
            executor.cancel(handle, hard=False)
        second = world.add(world.spec("journal", units=1), run="run-2")
        tick(reconciler)
        assert outcomes(world, first) == outcomes(world, second) == [None]
        assert world.attempts(second)[0]["handle"] is None
    finally:
        slurm.start_controller()
    again = world.reconciler(replace(executor))
    tick_until(again, lambda: world.record(first) and world.record(second), "both ends")
    assert outcomes(world, first) == outcomes(world, second) == ["passed"]


# Names


def test_several_who_submit_a_key_at_once_leave_one_job(world, executor, slurm):
    attempt = world.attempt(world.spec("journal", units=50))
    ready = threading.Barrier(6)

    def submit(one: SlurmExecutor) -> None:
        ready.wait()
        one.submit(attempt)

    threads = [threading.Thread(target=submit, args=(replace(executor),)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handle = executor.submit(attempt)
    assert len(slurm.ask("squeue", "-ha", f"--name={handle}", "-o%i").split()) == 1
    wait_for_end(executor, handle)
    assert executor.submit(attempt) == handle
    assert phase(executor, handle) is Phase.ENDED
    assert (attempt.folder.path / "journal").read_text().count("begin") == 1


def test_ledgers_that_use_the_same_key_do_not_meet(world, executor, tmp_path):
    other = ToyWorld(tmp_path / "other")
    both = [executor.submit(place.attempt(place.spec("wait"))) for place in (world, other)]
    assert len(set(both)) == 2
    executor.cancel(both[0], hard=True)
    wait_for_end(executor, both[0])
    assert phase(executor, both[1]) is not Phase.ENDED


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can submit for another user")
def test_jobs_of_others_are_not_ours_whatever_they_are_called(world, executor, slurm):
    attempt = world.attempt(world.spec("wait"))
    handle = executor.submit(attempt)
    asked = ["sbatch", "--parsable", "--uid=65534", "--hold", f"--job-name={handle}", "--wrap=true"]
    theirs = slurm.ask(*asked, "--chdir=/", "--output=/dev/null").strip()
    assert theirs
    try:
        wait_for_progress(attempt.folder)
        executor.cancel(handle, hard=True)
        wait_for_end(executor, handle)
        assert slurm.ask("squeue", "-ha", f"--jobs={theirs}", "-o%T").strip() == "PENDING"
    finally:
        slurm.ask("scancel", theirs)


# What is wrong is told


def test_what_slurm_refuses_is_told_with_the_command_to_try(world):
    with (
        slurm_executor(world.root, toy_command, partition="nope") as executor,
        pytest.raises(InfrastructureError, match="Invalid partition name specified") as e,
    ):
        executor.submit(world.attempt(world.spec("")))
    assert "sbatch --test-only --nodes=1 --time=11 --partition=nope" in e.value.findings[0].hint


def test_a_job_that_waits_for_ever_is_told_once(world, caplog):
    with slurm_executor(world.root, toy_command, partition="short") as executor:
        handle = executor.submit(world.attempt(world.spec("wait")))
        with caplog.at_level(logging.WARNING):
            until(lambda: phase(executor, handle) is Phase.QUEUED and caplog.text, "a word of it")
        executor.every_s = 0.0
        assert phase(executor, handle) is Phase.QUEUED
    assert caplog.text.count("why=PartitionTimeLimit") == 1


@pytest.mark.parametrize("says", ["echo what?", "echo no >&2; exit 1"])
def test_a_queue_that_cannot_be_read_ends_nothing(tmp_path, monkeypatch, says):
    queue = tmp_path / "squeue"
    queue.write_text(f"#!/bin/sh\n{says}\n")
    queue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    executor = SlurmExecutor(tmp_path / "objects", tmp_path / "cache")
    with pytest.raises(ExecutorAwayError, match=r"what\?|no"):
        executor.phases(["lora-ci-0-step-1-1"])


def test_a_machine_without_slurm_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    executor = SlurmExecutor(tmp_path / "objects", tmp_path / "cache")
    with pytest.raises(InfrastructureError, match="`squeue` is not on this machine"):
        executor.phases(["lora-ci-0-step-1-1"])
