"""On a real Ray: GPUs, labels, a head that goes and comes, and a network that is not to be trusted.

What all executors have in common is in tests/contracts/test_executor.py.
"""

import json
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from signal import SIGKILL

import pytest

from lora_ci.core.errors import InfrastructureError
from lora_ci.core.step import Outcome, Resources, StepResult
from lora_ci.diffusion.families import SD1
from lora_ci.execution.executor import Attempt, ExecutorAwayError, Phase, Place, step_folder
from lora_ci.execution.local import exec_step_command
from lora_ci.execution.processes import of_mark
from lora_ci.execution.ray import RayExecutor
from lora_ci.execution.ray_machines import Wanted, held
from lora_ci.steps.folder import StepFolder
from tests.builders import RepoBuilder
from tests.command import lora_ci
from tests.execution.ray_world import RayCluster, cluster, executor_on, own_cluster
from tests.execution.toy import toy_command
from tests.execution.toy_world import ToyWorld, processes_below, toy_world, until, wait_for_end
from tests.first_chapter import tell_first_chapter
from tests.tiny_sd import write_dataset
from tests.training.test_team import (
    SETTINGS,
    adapter_of,
    farthest,
    is_python_rank,
    ranks_of,
    run_step,
    spec_of,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def world(tmp_path) -> Iterator[ToyWorld]:
    with toy_world(tmp_path / "a place") as world:
        yield world


@pytest.fixture(scope="module")
def two() -> RayCluster:
    """The cluster of this process, with a second node."""
    if len(cluster().nodes()) < 2:
        cluster().add_node(gpus=2, labels={"kind": "large"})
    return cluster()


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


def test_a_step_runs_on_nodes_of_the_labels_or_on_the_node_of_its_place(world, two):
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


def test_the_demo_begins_there(tmp_path):
    chapter = tell_first_chapter(tmp_path, f"ray={cluster().address}")
    assert chapter.as_expected, chapter.text


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


# Several machines for one step

# Three processes load torch at a time, on a machine that may be busy.
LONG_S = 300.0


def training_on(nodes: int, root: Path, base: Path, *, gpus: int = 1, **settings) -> Attempt:
    """An attempt at a training."""
    spec = spec_of(root, base, replace(SETTINGS, **settings), gpus)
    spec = replace(spec, resources=Resources(gpus=gpus, nodes=nodes))
    folder = step_folder(root, spec.fingerprint)
    folder.write_spec(spec)
    return Attempt(key="step-1-1", folder=folder, spec=spec)


def trains(attempt: Attempt) -> bool:
    told = attempt.folder.read_progress()
    return told is not None and told.done >= 6


def result_of(ray: RayExecutor, attempt: Attempt, handle: str) -> StepResult | None:
    until(lambda: ray.phases([handle])[handle] is Phase.ENDED, "the end", deadline_s=LONG_S)
    return attempt.folder.read_result(attempt.spec.fingerprint)


def test_two_machines_make_the_adapter_of_one_and_go_on_after_a_kill(world, tiny_sd, two):
    root = world.root
    write_dataset(root / "dataset")
    ray = executor_on(two, root, exec_step_command)
    attempt = training_on(2, root, tiny_sd)
    handle = ray.submit(attempt)
    checkpoints = attempt.folder.workdir / "checkpoints"
    until(lambda: any(checkpoints.glob("step-*")), "a checkpoint", deadline_s=LONG_S)
    os.kill(max(pid for pid in ranks_of(attempt.folder.path) if is_python_rank(pid)), SIGKILL)
    killed = result_of(ray, attempt, handle)
    assert killed is not None, attempt.folder.log.read_text()
    assert [finding.rule for finding in killed.findings] == ["train.process-died"]
    until(lambda: not ranks_of(attempt.folder.path), "the end of the other", deadline_s=5)

    again, printed = replace(attempt, key="step-1-2"), attempt.folder.workdir / "processes.log"
    before = printed.stat().st_size
    both = result_of(ray, again, ray.submit(again))
    assert both.outcome is Outcome.PASSED, both.findings
    assert both.details["processes"] == 2
    assert "[1, 40" not in printed.read_bytes()[before:].decode()
    alone = run_step(root, "alone", spec_of(root, tiny_sd, SETTINGS, 1))
    assert farthest(adapter_of(root, alone), adapter_of(root, both)) <= 1e-5


@pytest.mark.parametrize(("nodes", "gpus"), [(2, 1), (1, 2)])
def test_a_training_that_is_to_end_saves_on_all_machines(world, tiny_sd, two, nodes, gpus):
    write_dataset(world.root / "dataset")
    ray = executor_on(two, world.root, exec_step_command, stop_wait_s=30)
    attempt = training_on(nodes, world.root, tiny_sd, gpus=gpus, steps=4000, checkpoint_every=9999)
    handle = ray.submit(attempt)
    until(lambda: trains(attempt), "the training", deadline_s=LONG_S)
    ray.cancel(handle, hard=False)
    stopped = result_of(ray, attempt, handle)
    assert stopped is not None, attempt.folder.log.read_text()
    assert stopped.outcome is Outcome.INTERRUPTED, stopped.findings
    assert any(attempt.folder.workdir.glob("checkpoints/step-*"))
    assert not ranks_of(attempt.folder.path)


# Says on each machine who started it and what it has, and goes on until it is ended.
ON_EACH = """
echo "$PPID $CUDA_VISIBLE_DEVICES" > "$0/machine-$LORA_CI_MACHINE"
while :; do sleep 0.1; done
"""


def start_on_each(folder: StepFolder, store: Path, cache: Path) -> list[str]:
    ask = 'exec "$0" -P -m lora_ci.training.on_machines "$LORA_CI_MACHINES" "$@"'
    command = ["/bin/sh", "-c", ask, sys.executable]
    return [*command, "/bin/sh", "-c", ON_EACH, str(folder.path)]


@pytest.mark.parametrize("how", ["soft", "hard", "holder", "step", "worker"])
def test_whatever_is_killed_no_machine_goes_on(world, two, how):
    ray = executor_on(two, world.root, start_on_each)
    attempt = world.attempt(replace(world.spec(""), resources=Resources(gpus=2, nodes=2)))
    folder = attempt.folder.path
    handle = ray.submit(attempt)
    begun = [folder / f"machine-{number}" for number in range(2)]
    until(lambda: all(file.exists() and file.read_text() for file in begun), "both machines")
    workers, gpus = zip(*(file.read_text().split() for file in begun), strict=True)
    assert [len(shown.split(",")) for shown in gpus] == [2, 2]

    holder = int((folder / "attempts" / attempt.key).read_text().split()[1])
    (step,) = Path(f"/proc/{holder}/task/{holder}/children").read_text().split()
    match how:
        case "soft" | "hard":
            ray.cancel(handle, hard=how == "hard")
        case "holder":
            os.kill(holder, SIGKILL)
        case "step":
            os.kill(int(step), SIGKILL)
        case "worker":
            os.kill(int(workers[1]), SIGKILL)
    wait_for_end(ray, handle)
    until(lambda: not list(processes_below(folder)), "the end of all", deadline_s=20)


def test_a_missing_package_of_ray_is_named_with_the_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    wanted = Wanted(mark="m", begun="/b", named=(), count=2, gpus=1, cpus=1.0, labels={})
    with pytest.raises(SystemExit, match="pip install ray=="):
        held(wanted)


def test_a_step_waits_until_all_its_machines_are_free(ray, world, two, caplog):
    spec = replace(world.spec(""), resources=Resources(gpus=1, nodes=3))
    attempt = world.attempt(spec)
    handle = ray.submit(attempt)
    until(lambda: ray.jobs.find(handle).status == "RUNNING", "the job that waits")
    for _ in range(2):
        assert ray.phases([handle]) == {handle: Phase.QUEUED}
    (told,) = caplog.messages
    assert "asks for 1 GPUs on each of 3 nodes, and there are nodes with 2 + 4" in told
    ray.cancel(handle, hard=False)
    assert ray.phases([handle]) == {handle: Phase.ENDED}
    until(lambda: ray.jobs.find(handle).status == "STOPPED", "the end of the job")
    assert attempt.folder.read_progress() is None
