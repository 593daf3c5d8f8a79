"""A server whose steps are processes of their own: they outlive it, and end with it if asked to."""

import json
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from lora_ci.diffusion.families import SD1
from lora_ci.execution.executor import Phase
from lora_ci.execution.local import LocalExecutor
from lora_ci.ledger.engine import open_engine
from tests.bot.served import REPO, Served
from tests.builders import RepoBuilder
from tests.fake_github import FakeGitHub
from tests.postgres import own_server

pytestmark = pytest.mark.slow

CONFIG = """\
version: 1
loras:
  mei: {dataset: datasets/mei, base_model: models/tiny, trigger: wait-train}
"""
AWAY_S = 30.0
OPEN = "SELECT key, handle FROM attempt WHERE state = 'open' AND handle IS NOT NULL"


@pytest.fixture
def world(tmp_path):
    with serving(tmp_path) as served:
        try:
            yield served
        finally:
            for attempt in attempts(served):
                executor().cancel(attempt["handle"], hard=True)


@contextmanager
def serving(tmp_path: Path, *more: str) -> Iterator[Served]:
    """A server with toys for stages, and a repository without a LoRA."""
    builder = RepoBuilder(tmp_path)
    builder.dvc_add("models/tiny", {f"{part}/x.safetensors": b"x" for part in SD1.parts})
    builder.dvc_add("datasets/mei", {"a.png": b"a picture"})
    builder.commit("no LoRA yet")
    with FakeGitHub() as hub:
        options = ("--executor", "local", "--log-format", "json", "--owner", "acme")
        served = Served(hub, builder, tmp_path, options=(*options, *more))
        served.prepare()
        served.use_toys("tests.cli.batch_toy")
        try:
            served.start()
            yield served
        finally:
            served.clean_up()


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
    return said_in_steps(world, "train of mei, by a toy")


def said_in_steps(world: Served, words: str) -> int:
    """How often the steps printed that."""
    logs = (world.state / "repos" / REPO / ".lora-ci" / "steps").glob("*/log.txt")
    return sum(log.read_text().count(words) for log in logs)


def let_go(world: Served) -> None:
    """Lets the training that waits come to its end."""
    for folder in (world.state / "repos" / REPO / ".lora-ci" / "inputs").iterdir():
        if folder.is_dir():
            (folder / "go").touch()


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
    let_go(world)
    world.start()
    (job,) = world.done(1)
    assert (job["note"], job["attempts"]) == ("passed", 1), world.log
    assert begins(world) == 2
    assert said_in_steps(world, "goes on from what was saved") == 1
    assert world.checks(head) == {"lora-ci": "success", "lora-ci / mei": "success"}
    # Every line of the servers' log is JSON.
    lines = (world.root / "server.log").read_text().splitlines()
    said = [json.loads(line).get("event") for line in lines]
    assert said.count("serve.listening") == 3
    assert said.count("serve.ended") == 1
    assert "job.done" in said


@pytest.mark.needs_postgres
def test_a_database_that_is_away_for_half_a_minute_costs_nothing(tmp_path):
    with own_server() as database:
        url = database.url("postgres")
        open_engine(url).dispose()
        with serving(tmp_path, "--ledger-url", url, "--parallel", "2") as world:
            first = world.push("work", lambda: world.builder.write(".lora-ci.yml", CONFIG))
            pull = world.hub.open_pull(REPO, head=first, head_ref="work")
            world.deliver("pull_request.opened", number=pull.number)
            world.wait_for(lambda: begins(world))
            database.stop()
            # Meanwhile the training ends, and another run is asked for.
            let_go(world)
            config = CONFIG.replace("wait-train", "other")
            second = world.push("more", lambda: world.builder.write(".lora-ci.yml", config))
            other = world.hub.open_pull(REPO, head=second, head_ref="more")
            world.deliver("pull_request.opened", number=other.number)
            time.sleep(AWAY_S)
            database.start()
            jobs = world.done(2)
            assert [job["note"] for job in jobs] == ["passed", "passed"], world.log
            assert "ledger.away" in world.log
            for head in (first, second):
                assert world.checks(head) == {"lora-ci": "success", "lora-ci / mei": "success"}
        with closing(database.connect()) as connection:
            tried = connection.execute("SELECT attempts FROM step WHERE stage = 'train'")
            assert list(tried) == [(1,), (1,)]
