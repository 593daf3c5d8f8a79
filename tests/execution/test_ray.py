"""On a real Ray: GPUs, labels, a head that goes and comes, and a network that is not to be trusted.

What all executors have in common is in tests/contracts/test_executor.py.
"""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lora_ci.core.errors import InfrastructureError
from lora_ci.core.step import Outcome, Resources
from lora_ci.diffusion.families import SD1
from lora_ci.execution.executor import Attempt, ExecutorAwayError, Phase, Place
from lora_ci.execution.processes import of_mark
from lora_ci.execution.ray import RayExecutor
from tests.builders import RepoBuilder
from tests.command import lora_ci
from tests.execution.ray_world import RayCluster, cluster, executor_on, own_cluster
from tests.execution.toy import toy_command
from tests.execution.toy_world import ToyWorld, until, wait_for_end

pytestmark = pytest.mark.slow


@pytest.fixture
def world(tmp_path) -> ToyWorld:
    return ToyWorld(tmp_path / "a place")


@pytest.fixture
def ray(world) -> RayExecutor:
    return executor_on(cluster(), world.root, toy_command)


def attempt_at(world: ToyWorld, do: str, *, gpus: int = 0, **params) -> Attempt:
    spec = world.spec(do, **params)
    return world.attempt(replace(spec, resources=Resources(gpus=gpus, timeout_s=60.0)))


def wait_for_ends(ray: RayExecutor, handles: list[str]) -> None:
    for handle in handles:
        wait_for_end(ray, handle)


# Where steps run


def test_gpus_are_given_out_once_and_who_gets_none_waits(world, ray):
    attempts = [attempt_at(world, "wait", gpus=2, number=n) for n in range(5)]
    handles = [ray.submit(attempt) for attempt in attempts]

    def phases() -> list[Phase]:
        found = ray.phases(handles)
        return [found[handle] for handle in handles]

    def begun() -> list[int]:
        return [n for n, a in enumerate(attempts) if a.folder.read_progress() is not None]

    until(lambda: len(begun()) == 2, "two steps")
    assert sorted(phases()) == [Phase.QUEUED] * 3 + [Phase.RUNNING] * 2
    seen = [_gpus_of(handles[n]) for n in begun()]
    assert sorted(",".join(seen).split(",")) == ["0", "1", "2", "3"]

    # One that waits is ended at once, and does not begin when there is room.
    runs, (waits, *_) = begun(), [n for n in range(5) if n not in begun()]
    ray.cancel(handles[waits], hard=False)
    assert phases()[waits] is Phase.ENDED
    for n in runs:
        ray.cancel(handles[n], hard=False)
    until(lambda: len(begun()) == 4, "the next two")
    for handle in handles:
        ray.cancel(handle, hard=False)
    wait_for_ends(ray, handles)
    assert waits not in begun()
    for handle in handles:
        ray.clear(handle)
    assert ray.phases(handles) == dict.fromkeys(handles, Phase.ENDED)

    # Ray cannot forget the one before its turn came.
    def known() -> bool:
        ray.phases(["another"])
        return ray.jobs.find(handles[waits]) is not None

    until(lambda: not known(), "the end of its job")


def _gpus_of(handle: str) -> str:
    """What the process of an attempt sees."""
    pid = next(of_mark(f"LORA_CI_ATTEMPT={handle}"))
    environment = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(v.split("=", 1) for v in environment if v)["CUDA_VISIBLE_DEVICES"]


def test_a_step_runs_on_nodes_of_the_labels_or_on_the_node_of_its_place(world):
    cluster().add_node(gpus=2, labels={"kind": "large"})
    on_large = executor_on(cluster(), world.root, toy_command, labels={"kind": "large"})
    first = attempt_at(world, "", gpus=1)
    handle = on_large.submit(first)
    wait_for_end(on_large, handle)
    node = cluster().ask(f"/api/jobs/{handle}")["driver_node_id"]
    (large,) = [n for n in cluster().nodes() if n["labels"].get("kind") == "large"]
    assert node == large["nodeId"]

    anywhere = executor_on(cluster(), world.root, toy_command)
    handle = anywhere.submit(replace(attempt_at(world, "", number=2), place=Place(node=node)))
    wait_for_end(anywhere, handle)
    assert cluster().ask(f"/api/jobs/{handle}")["driver_node_id"] == node


def test_a_step_gets_of_its_node_what_is_named(world):
    ray = executor_on(cluster(), world.root, toy_command, named=("MY_OWN",))
    attempt = attempt_at(world, "environment")
    handle = ray.submit(attempt)
    wait_for_end(ray, handle)
    environment = attempt.folder.read_result(attempt.spec.fingerprint).details["environment"]
    assert environment["MY_OWN"] == "hidden-5"
    assert not [name for name in environment if name.startswith(("RAY_", "GITHUB_"))]
    assert "hidden" not in str(cluster().ask(f"/api/jobs/{handle}"))


# Attempts are told apart, and begin once


def test_two_ledgers_have_the_same_key(tmp_path):
    attempts = [attempt_at(ToyWorld(tmp_path / name), "") for name in ("one", "other")]
    ray = executor_on(cluster(), tmp_path, toy_command)
    handles = [ray.submit(attempt) for attempt in attempts]
    wait_for_ends(ray, handles)
    assert len(set(handles)) == 2
    for attempt in attempts:
        assert attempt.folder.read_result(attempt.spec.fingerprint).outcome is Outcome.PASSED


def test_an_attempt_begins_once_even_if_ray_has_forgotten_it(world, ray):
    attempt = attempt_at(world, "journal", units=1)
    for _ in range(2):
        handle = ray.submit(attempt)
        wait_for_end(ray, handle)
        ray.clear(handle)
    assert (attempt.folder.path / "journal").read_text().count("begin") == 1


def test_why_a_step_could_not_begin_is_in_its_log(world):
    ray = executor_on(cluster(), world.root, toy_command, python="/nowhere/python")
    attempt = attempt_at(world, "")
    handle = ray.submit(attempt)
    wait_for_end(ray, handle)
    assert "/nowhere/python: not found" in attempt.folder.last_words()

    # Nodes see another folder at that place, or none.
    attempt.folder.log.unlink()
    attempt.folder.log.mkdir()
    handle = ray.submit(replace(attempt, key="step-1-2"))
    until(lambda: ray.jobs.find(handle).status == "FAILED", "the end of the job")
    attempt.folder.log.rmdir()
    ray = executor_on(cluster(), world.root, toy_command)
    assert ray.phases([handle]) == {handle: Phase.ENDED}
    assert attempt.folder.last_words().endswith("log.txt: Is a directory")


def test_the_command_line_runs_steps_there(tmp_path):
    repo = RepoBuilder(tmp_path)
    for part in ("model_index", *(f"{part}/config" for part in SD1.parts)):
        repo.write(f"models/tiny/{part}.json", "{}")
    repo.write("datasets/mei/1.png", b"no picture")
    repo.write(
        ".lora-ci.yml",
        "version: 1\nloras: {mei: {dataset: datasets/mei, base_model: models/tiny}}\n",
    )
    repo.commit()
    told = lora_ci(repo.root, "run", "--executor", f"ray={cluster().address}", "--json")
    assert told.code == 1, told.err
    (step,) = (s for s in json.loads(told.out)["steps"] if s["result"])
    assert step["decision"]["stage"] == "validate"
    assert "1.png" in str(step["result"]["findings"])


# A cluster that goes and comes


@pytest.fixture(scope="module")
def frail() -> Iterator[RayCluster]:
    """A cluster of its own, with a token, which gives up jobs that wait for some seconds."""
    with own_cluster("a-token-of-32-characters-or-more", {WAIT: "12"}) as started:
        yield started


WAIT = "RAY_JOB_START_TIMEOUT_SECONDS"


def test_a_job_that_ray_gives_up_waits_on(frail, world):
    ray = executor_on(frail, world.root, toy_command)
    handle = ray.submit(attempt_at(world, "", gpus=99))

    def began() -> int:
        return frail.ask(f"/api/jobs/{handle}")["start_time"]

    first = began()
    until(lambda: ray.phases([handle])[handle] is Phase.QUEUED and began() > first, "another turn")
    ray.cancel(handle, hard=False)
    assert ray.phases([handle]) == {handle: Phase.ENDED}


def test_a_wrong_token_is_told(frail, world):
    ray = executor_on(frail, world.root, toy_command)
    ray.jobs.token = "another-token-of-32-characters-or-more"
    with pytest.raises(InfrastructureError, match=r"refuses .* 403") as caught:
        ray.submit(attempt_at(world, ""))
    assert not isinstance(caught.value, ExecutorAwayError)
    assert "ray get-auth-token" in caught.value.findings[0].hint
    assert "another-token" not in repr(ray)


def test_a_head_that_is_killed_and_started_costs_no_step_more_than_an_attempt(frail, world):
    ray = executor_on(frail, world.root, toy_command)
    first = world.add(world.spec("journal", units=100))
    second = world.add(world.spec(""))
    driving = threading.Thread(target=world.drive, args=(ray,), kwargs={"room": 1})
    driving.start()
    until(lambda: world.folder(first).read_progress() is not None, "the first step")
    frail.kill()
    with pytest.raises(ExecutorAwayError, match="does not answer"):
        executor_on(frail, world.root, toy_command).phases(["any"])
    frail.start()
    driving.join(timeout=120)
    assert [a["outcome"] for a in world.attempts(first)] == ["error", "passed"]
    assert [a["outcome"] for a in world.attempts(second)] == ["passed"]
    assert (world.folder(first).path / "journal").read_text().count("end") == 1
