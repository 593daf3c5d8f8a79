"""Jobs on a repository's own runners: begun once, and believed by what they leave."""

import socket
from dataclasses import replace

import pytest

from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import InfrastructureError, InputError
from lora_ci.core.step import Outcome
from lora_ci.execution.drive import Driver
from lora_ci.execution.executor import ExecutorAwayError, Phase
from lora_ci.execution.lead import this_process
from lora_ci.execution.tick import Reconciler
from lora_ci.forge.github.action_executor import LISTED_S, TokenEndedError
from tests.execution.actions_world import (
    REPO,
    ActionsPlace,
    OnGpus,
    actions_place,
)
from tests.execution.toy import toy_command
from tests.execution.toy_world import HASTY, ToyWorld, until, wait_for_end, wait_for_progress
from tests.github_world import Clock

pytestmark = pytest.mark.slow

DISPATCHES = "/dispatches"
# No system gives it to a process.
MOST_PID = 1 << 30


@pytest.fixture
def world(tmp_path) -> ToyWorld:
    return ToyWorld(tmp_path / "here")


@pytest.fixture
def place(world):
    with actions_place(world.root, toy_command) as place:
        yield place


def on_gpu(world: ToyWorld, do: str = "", key: str = "step-1-1"):
    """An attempt at a step that needs a GPU."""
    spec = world.spec(do)
    spec = replace(spec, resources=replace(spec.resources, gpus=1))
    return world.attempt(spec, key)


def words(attempt) -> str:
    return attempt.folder.last_words()


def test_a_job_does_the_step_and_leaves_all_of_it(world, place):
    executor, attempt = place.executor(world.root), on_gpu(world)
    handle = executor.submit(attempt)
    wait_for_end(executor, handle)
    result = attempt.folder.read_result(attempt.spec.fingerprint)
    assert result.metrics == {"calls": 1.0}
    assert world.store.get(result.artifact("out.txt").sha256).read_text() == "made"
    ((records, name),) = place.published
    assert [r.fingerprint for r in records] == [attempt.spec.fingerprint]
    (asked,) = place.runner.begun
    assert name == f"lora-ci-step-{asked['key']}"
    assert (asked["lora"], asked["stage"]) == (attempt.spec.lora, "train")
    (run,) = place.hub.repo(REPO).runs
    assert f"/actions/runs/{run}" in attempt.folder.log.read_text()


def test_what_needs_no_gpu_is_done_here(world, place):
    executor = place.executor(world.root)
    executor = replace(executor, here=replace(executor.here, command=toy_command))
    attempt = world.attempt(world.spec(""))
    handle = executor.submit(attempt)
    wait_for_end(executor, handle)
    executor.clear(handle)
    assert attempt.folder.read_result(attempt.spec.fingerprint).outcome is Outcome.PASSED
    assert place.runner.begun == []


def test_a_step_of_several_machines_is_refused(world, place):
    attempt = on_gpu(world)
    spec = replace(attempt.spec, resources=replace(attempt.spec.resources, nodes=2))
    with pytest.raises(InputError, match="nodes"):
        place.executor(world.root).submit(replace(attempt, spec=spec))


# A run begins once


def test_one_key_begins_one_run_whoever_asks(world, place):
    attempt = on_gpu(world)
    handles = {place.executor(world.root).submit(attempt) for _ in range(3)}
    assert len(handles) == 1
    assert len(place.runner.begun) == 1


# The last is what a server says that does not tell which run began.
@pytest.mark.parametrize("fault", ["502_after_write", "reset_after_write", "truncated"])
def test_a_run_whose_answer_was_lost_is_found(world, place, fault):
    executor, attempt = place.executor(world.root), on_gpu(world)
    place.hub.faults.add(match=f"POST *{DISPATCHES}", kind=fault)
    with pytest.raises(ExecutorAwayError):
        executor.submit(attempt)
    handle = executor.submit(attempt)
    wait_for_end(executor, handle)
    assert len(place.runner.begun) == 1


def test_a_run_that_is_not_listed_yet_is_waited_for(world, place):
    clock, attempt = Clock(), on_gpu(world)
    executor = place.executor(world.root, clock=clock)
    place.hub.faults.add(match=f"POST *{DISPATCHES}", kind="reset_after_write")
    with pytest.raises(ExecutorAwayError):
        executor.submit(attempt)
    (run,) = place.hub.repo(REPO).runs.values()
    run.listed = False
    for _ in range(4):
        with pytest.raises(ExecutorAwayError, match="did not say"):
            executor.submit(attempt)
        clock.sleep(LISTED_S / 5)
    run.listed = True
    assert executor.submit(attempt).startswith(f"{run.id}:")
    assert len(place.runner.begun) == 1


def test_a_run_that_never_began_is_asked_for_again(world, place):
    clock, attempt = Clock(), on_gpu(world)
    executor = place.executor(world.root, clock=clock)
    place.hub.faults.add(match=f"POST *{DISPATCHES}", kind="502_before")
    with pytest.raises(ExecutorAwayError):
        executor.submit(attempt)
    with pytest.raises(ExecutorAwayError):
        executor.submit(attempt)
    clock.sleep(LISTED_S + 1)
    executor.submit(attempt)
    assert len(place.runner.begun) == 1


def test_a_second_run_of_a_key_is_cancelled_when_the_first_has_ended(world, place):
    executor, attempt = place.executor(world.root), on_gpu(world)
    handle = executor.submit(attempt)
    (run,) = place.hub.repo(REPO).runs.values()
    twin = replace(run, id=place.hub.new_id(), status="queued")
    place.hub.repo(REPO).runs[twin.id] = twin
    wait_for_end(executor, handle)
    assert place.runner.cancelled == {twin.id}


@pytest.mark.parametrize(
    ("fault", "hint"),
    [("403", "actions: write"), ("404", "on the default branch"), ("422", "compare")],
)
def test_why_no_job_begins_is_told(world, place, fault, hint):
    place.hub.faults.add(match=f"POST *{DISPATCHES}", kind=fault)
    with pytest.raises(InfrastructureError, match="could be started in acme/loras") as caught:
        place.executor(world.root).submit(on_gpu(world))
    assert not isinstance(caught.value, ExecutorAwayError)
    assert hint in caught.value.findings[0].hint


def test_a_token_that_only_reads_begins_nothing(world, place):
    executor = place.executor(world.root, token=place.hub.token({"actions": "read"}))
    with pytest.raises(InfrastructureError) as caught:
        executor.submit(on_gpu(world))
    assert "actions: write" in caught.value.findings[0].hint
    assert place.runner.begun == []


def test_a_repository_without_the_workflow_is_told(world, place):
    place.hub.repo(REPO).workflows.clear()
    with pytest.raises(InfrastructureError) as caught:
        place.executor(world.root).submit(on_gpu(world))
    assert "lora-ci-step.yml on the default branch" in caught.value.findings[0].hint


# How it goes, and how it is ended


def running(world: ToyWorld, place: ActionsPlace, do: str):
    executor, attempt = place.executor(world.root), on_gpu(world, do)
    handle = executor.submit(attempt)
    wait_for_progress(place.runner.folder(attempt.spec))
    return executor, attempt, handle


def test_a_job_that_is_cancelled_leaves_what_it_has(world, place):
    executor, attempt, handle = running(world, place, "wait")
    other = place.executor(world.root)
    assert other.phases([handle]) == {handle: Phase.RUNNING}
    other.cancel(handle, hard=False)
    wait_for_end(executor, handle)
    assert attempt.folder.read_result(attempt.spec.fingerprint).outcome is Outcome.INTERRUPTED
    for hard in (False, True):
        executor.cancel(handle, hard=hard)
    executor.clear(handle)
    assert executor.phases([handle]) == {handle: Phase.ENDED}


def test_a_job_that_does_not_heed_that_is_ended_hard(world, place):
    executor, attempt, handle = running(world, place, "hang")
    executor.cancel(handle, hard=False)
    executor.cancel(handle, hard=True)
    wait_for_end(executor, handle)
    result = attempt.folder.read_result(attempt.spec.fingerprint)
    assert (result.outcome, result.artifacts) == (Outcome.INTERRUPTED, ())
    assert "ended as cancelled; it left nothing: http" in words(attempt)


def test_github_is_not_asked_at_every_turn(world, place):
    executor, _, handle = running(world, place, "wait")
    executor = replace(executor, every_s=1000.0, _known={})
    before = place.hub.count("GET")
    for _ in range(20):
        assert executor.phases([handle]) == {handle: Phase.RUNNING}
    assert place.hub.count("GET") == before + 1


def test_a_run_that_was_deleted_has_ended(world, place):
    executor, attempt, handle = running(world, place, "wait")
    runs = place.hub.repo(REPO).runs
    kept = dict(runs)
    runs.clear()
    wait_for_end(executor, handle)
    assert "knows nothing of the job" in words(attempt)
    runs.update(kept)


def test_a_host_that_does_not_answer_tells_nothing(world, place):
    executor, _, handle = running(world, place, "wait")
    place.hub.faults.add(match="GET */actions/runs/*", kind="503_before", times=None)
    executor = replace(executor, client=place.executor(world.root, clock=Clock()).client)
    with pytest.raises(InfrastructureError):
        until(lambda: executor.phases([handle]) is None)


def test_a_token_that_has_ended_is_not_waited_for(world, place):
    executor, _, handle = running(world, place, "wait")
    place.hub.faults.add(match="GET */actions/runs/*", kind="401", times=None)
    with pytest.raises(TokenEndedError, match="cannot be waited for"):
        until(lambda: executor.phases([handle]) is None)


# What it left is looked at


def left(world: ToyWorld, place: ActionsPlace, change) -> str:
    """The last words of a job whose artifact was changed."""
    executor, attempt = replace(place.executor(world.root), every_s=1000.0), on_gpu(world)
    handle = executor.submit(attempt)
    (run,) = place.hub.repo(REPO).runs.values()
    until(lambda: run.status == "completed", "the end of the job")
    (artifact,) = place.hub.repo(REPO).artifacts.values()
    change(artifact)
    wait_for_end(executor, handle)
    assert attempt.folder.read_result(attempt.spec.fingerprint) is None
    return words(attempt)


def test_an_artifact_that_has_expired_is_none(world, place):
    told = left(world, place, lambda artifact: setattr(artifact, "expired", True))
    assert "ended as success; it left nothing: http" in told


@pytest.mark.parametrize("data", [b"no zip", b"PK\5\6" + b"\0" * 18])
def test_an_artifact_that_is_damaged_is_told(world, place, data):
    told = left(world, place, lambda artifact: setattr(artifact, "data", data))
    assert "ended as success; what it left cannot be read" in told


def test_an_artifact_of_another_run_is_not_taken(world, place):
    told = left(world, place, lambda artifact: setattr(artifact, "run", 1))
    assert "it left nothing" in told


def test_a_job_of_another_version_is_told(world, place):
    place.runner.version = lambda fingerprint: "f" * 64
    executor, attempt = place.executor(world.root), on_gpu(world)
    wait_for_end(executor, executor.submit(attempt))
    (finding,) = attempt.folder.read_result(attempt.spec.fingerprint).findings
    assert finding.rule == "step.other-work"
    assert "fffffff" in finding.message
    assert attempt.spec.fingerprint[:12] in finding.message


def test_why_the_plan_of_a_job_has_no_such_step_is_told(world, place):
    place.runner.blocked = "over the budget"
    executor, attempt = place.executor(world.root), on_gpu(world)
    wait_for_end(executor, executor.submit(attempt))
    assert attempt.folder.read_result(attempt.spec.fingerprint) is None
    assert "it was not to do it: over the budget: http" in words(attempt)


# In a run


def test_a_job_that_a_person_cancels_begins_again(world, place):
    executor = OnGpus(place.executor(world.root))
    spec = world.add(world.spec("journal", units=3))
    handles: list[str] = []
    begin = place.runner.begin

    def cancel_first(run, inputs):
        if not handles:
            place.runner.cancelled.add(run.id)
            handles.append(inputs["key"])
        begin(run, inputs)

    place.runner.begin = cancel_first
    world.drive(executor)
    assert world.outcome(spec) is Outcome.PASSED
    assert [a["outcome"] for a in world.attempts(spec)] == ["interrupted", "passed"]
    assert {a["executor"] for a in world.attempts(spec)} == {executor.name}


def test_a_run_that_is_stopped_cancels_its_jobs(world, place):
    spec = world.add(world.spec("wait"))
    moved = reconciler(world, place, "run-1")
    driver = Driver(reconciler=moved, clock=moved.clock, watch=lambda *_: None)
    moved.tick()
    wait_for_progress(place.runner.folder(spec))
    driver.stop("run-1")
    assert world.outcome(spec) is Outcome.INTERRUPTED
    (run,) = place.hub.repo(REPO).runs.values()
    assert (run.status, run.conclusion) == ("completed", "cancelled")


def reconciler(world: ToyWorld, place: ActionsPlace, run: str) -> Reconciler:
    """What moves one run on."""
    return Reconciler(
        ledger=world.ledger, executor=OnGpus(place.executor(world.root)), store=world.store,
        clock=SystemClock(), run_id=run, policy=HASTY,
    )  # fmt: skip


def test_a_run_leaves_the_jobs_of_others_alone(world, place):
    world.add(world.spec("wait"), run="run-2")
    world.ledger.queue.beat("run-2", this_process())
    reconciler(world, place, "run-2").tick()
    world.add(world.spec(""), run="run-1")
    other = reconciler(world, place, "run-1")
    other.tick()
    assert {a.step.run_id for a in world.ledger.queue.open_attempts()} == {"run-1", "run-2"}
    until(lambda: other.tick() or not world.ledger.queue.unfinished("run-1"))
    (attempt,) = world.ledger.queue.open_attempts()
    assert attempt.step.run_id == "run-2"


def test_the_jobs_of_a_run_that_died_are_taken_over(world, place):
    spec = world.add(world.spec(""), run="run-2")
    begun = world.add(world.spec("fail"), run="run-2")
    world.ledger.queue.beat("run-2", f"{socket.gethostname()}:{MOST_PID}:1")
    reconciler(world, place, "run-2").tick()
    # It died before this one's run was asked for.
    (waiting,) = world.ledger.queue.waiting(run_id="run-2")
    assert world.ledger.queue.begin([(waiting.step, {})], executor=place.executor(world.root).name)[
        0
    ]
    other = reconciler(world, place, "run-1")
    until(lambda: other.tick() or not world.ledger.queue.unfinished("run-2"))
    done = {"pass": Outcome.PASSED, "fail": Outcome.FAILED} | {
        waiting.step.lora: Outcome.INTERRUPTED
    }
    assert {s.lora: world.outcome(s, "run-2") for s in (spec, begun)} == done
    assert len(place.runner.begun) == 1
