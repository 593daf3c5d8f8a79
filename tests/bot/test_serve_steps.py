"""A server whose steps are processes of their own: they outlive it, and end with it if asked to."""

import json
import signal
import sqlite3
from pathlib import Path

import pytest

from lora_ci.diffusion.families import SD1
from lora_ci.execution.executor import Phase
from lora_ci.execution.local import LocalExecutor
from tests.bot.served import REPO, Served
from tests.builders import RepoBuilder
from tests.fake_github import FakeGitHub

pytestmark = pytest.mark.slow

CONFIG = """\
version: 1
loras:
  mei: {dataset: datasets/mei, base_model: models/tiny, trigger: wait-train}
"""
OPEN = "SELECT key, handle FROM attempt WHERE state = 'open' AND handle IS NOT NULL"


@pytest.fixture
def world(tmp_path):
    builder = RepoBuilder(tmp_path)
    builder.dvc_add("models/tiny", {f"{part}/x.safetensors": b"x" for part in SD1.parts})
    builder.dvc_add("datasets/mei", {"a.png": b"a picture"})
    builder.commit("no LoRA yet")
    with FakeGitHub() as hub:
        options = ("--executor", "local", "--log-format", "json", "--owner", "acme")
        served = Served(hub, builder, tmp_path, options=options)
        served.prepare()
        served.use_toys("tests.cli.batch_toy")
        try:
            served.start()
            yield served
        finally:
            served.clean_up()
            for attempt in attempts(served):
                executor().cancel(attempt["handle"], hard=True)


def attempts(world: Served) -> list[dict]:
    """Those that go on, as the ledger says."""
    try:
        return world.rows(world.state / "steps.db", OPEN)
    except sqlite3.OperationalError:
        return []  # it is being made


def executor() -> LocalExecutor:
    return LocalExecutor(Path(), Path())


def training(world: Served) -> dict | None:
    """The attempt at the training, once it goes on."""
    found = attempts(world) if begins(world) else []
    return found[0] if found else None


def begins(world: Served) -> int:
    """How many trainings were begun."""
    logs = (world.state / "repos" / REPO / ".lora-ci" / "steps").glob("*/log.txt")
    return sum(log.read_text().count("train of mei, by a toy") for log in logs)


def test_a_server_is_killed_and_upgraded_while_a_step_goes_on(world):
    head = world.push("work", lambda: world.builder.write(".lora-ci.yml", CONFIG))
    pull = world.hub.open_pull(REPO, head=head, head_ref="work")
    world.deliver("pull_request.opened", number=pull.number)
    first = world.wait_for(lambda: training(world))
    # One that is killed leaves the step alone; the next server adopts its run.
    world.end(signal.SIGKILL)
    world.start()
    assert [job["state"] for job in world.jobs()] == ["running"]
    assert attempts(world) == [first]
    assert executor().phases([first["handle"]]) == {first["handle"]: Phase.RUNNING}
    # One that is asked to end leaves no process: the step has its checkpoint.
    assert world.end() == 0
    assert [job["state"] for job in world.jobs()] == ["waiting"]
    assert attempts(world) == []
    assert executor().phases([first["handle"]]) == {first["handle"]: Phase.ENDED}
    assert begins(world) == 1
    # Whoever comes next, of whatever version, goes on from there.
    for folder in (world.state / "repos" / REPO / ".lora-ci" / "inputs").iterdir():
        if folder.is_dir():
            (folder / "go").touch()
    world.start()
    (job,) = world.done(1)
    assert (job["note"], job["attempts"]) == ("passed", 1), world.log
    assert begins(world) == 2
    assert world.checks(head) == {"lora-ci": "success", "lora-ci / mei": "success"}
    # Every line of the servers' log is JSON.
    lines = (world.root / "server.log").read_text().splitlines()
    said = [json.loads(line).get("event") for line in lines]
    assert said.count("serve.listening") == 3
    assert said.count("serve.ended") == 1
    assert "job.done" in said
