"""The whole bot: a real server, real processes, git over HTTP, a fake GitHub."""

import fcntl
import re
import signal
import time
import urllib.request
from pathlib import Path

import pytest

from lora_ci.diffusion.families import SD1
from tests.bot.served import REPO, SECRET, Served
from tests.builders import RepoBuilder, files_of
from tests.command import assert_one_message, lora_ci
from tests.fake_github import FakeGitHub
from tests.tiny_sd import write_dataset

CONFIG = """\
version: 1
defaults:
  base_model: models/tiny
  validate: {min_side: 32}
  train: {rank: 4, learning_rate: 1e-3, batch_size: 2, images_seen: SEEN, resolution: 16,
    checkpoint_every: 5}
  qa: {steps: 2, seeds: 1}
loras:
  mei: {dataset: datasets/mei}
"""


@pytest.fixture
def hub():
    with FakeGitHub() as hub:
        yield hub


@pytest.fixture
def world(hub, tmp_path, request):
    """A bot that serves a repository with one LoRA; `toys` train at once."""
    toys = getattr(request, "param", "toys") == "toys"
    builder = RepoBuilder(tmp_path)
    model = {f"{part}/x.safetensors": b"x" for part in SD1.parts} if toys else tiny(request)
    builder.dvc_add("models/tiny", model)
    files = files_of(write_dataset(tmp_path / "mei", images=6, trigger="mei"))
    builder.dvc_add("datasets/mei", files)
    builder.write(".lora-ci.yml", CONFIG.replace("SEEN", "60"))
    builder.commit("one LoRA")
    served = Served(hub, builder, tmp_path)
    served.prepare()
    hub.grant("bob", REPO, "write")
    if toys:
        served.use_toys()
    try:
        served.start()
        yield served
    finally:
        served.clean_up()


def tiny(request):
    return files_of(request.getfixturevalue("tiny_sd"))


def seen(world, number):
    """Another length of training."""
    return lambda: world.builder.write(".lora-ci.yml", CONFIG.replace("SEEN", str(number)))


@pytest.mark.slow
def test_pull_requests_and_commands(world):
    first = world.push("work", seen(world, 62))
    pull = world.hub.open_pull(REPO, head=first, head_ref="work")
    world.deliver("pull_request.opened", number=pull.number)
    (job,) = world.done(1)
    (comment,) = world.comments(pull.number)
    assert "everybody who may install the App" in world.log
    assert (job["note"], comment.login) == ("passed", "lora-ci[bot]"), world.log
    assert world.checks(first) == {"lora-ci": "success", "lora-ci / mei": "success"}
    addresses = {c.details_url for c in world.hub.repo(REPO).checks.values()}
    (address,) = addresses
    assert address
    assert address.startswith(f"{world.url}/reports/{REPO}/")
    with urllib.request.urlopen(address, timeout=10) as page:
        assert b"lora-ci" in page.read()

    second = world.push("work", seen(world, 64))
    world.deliver("pull_request.synchronize", number=pull.number)
    world.done(2)
    (again,) = world.comments(pull.number)
    assert again.id == comment.id
    assert second[:7] in again.body
    assert world.checks(second)["lora-ci / mei"] == "success"

    # A fork trains after an approval of its commit, and only then.
    foreign = world.push("foreign", seen(world, 66))
    fork = world.hub.open_pull(REPO, head=foreign, head_ref="main", fork="eve/loras", login="eve")
    world.deliver("pull_request.opened", number=fork.number)
    world.done(3)
    assert trainings(world) == 2
    (waiting,) = world.comments(fork.number)
    assert "/lora-ci approve" in waiting.body
    approve = f"/lora-ci approve {foreign}"
    for person in ("eve", "bob"):
        world.deliver("issue_comment.created", number=fork.number, comment=approve, login=person)
    world.done(4)
    assert trainings(world) == 3
    replies = [c.body for c in world.hub.repo(REPO).comments_on(fork.number)]
    assert sum("your permission is" in body for body in replies) == 1
    assert sum("may run" in body for body in replies) == 1
    assert len(world.comments(fork.number)) == 1


@pytest.mark.slow
def test_a_delivery_that_was_lost_while_no_server_ran(world):
    head = world.push("work", seen(world, 62))
    pull = world.hub.open_pull(REPO, head=head, head_ref="work")
    world.end()
    world.hub.now = lambda: time.time() - 3600
    world.deliver("pull_request.opened", number=pull.number, lost=True)
    world.hub.now = time.time
    world.start()
    world.done(1)
    assert len(world.comments(pull.number)) == 1


@pytest.mark.slow
@pytest.mark.parametrize("world", ["real"], indirect=True)
def test_a_server_that_is_killed_and_one_that_is_stopped(world):
    head = world.push("work", seen(world, 600))
    pull = world.hub.open_pull(REPO, head=head, head_ref="work")
    world.deliver("pull_request.opened", number=pull.number)
    world.wait_for(lambda: trainings(world))
    world.end(signal.SIGKILL)
    world.start()
    assert [job["state"] for job in world.jobs()] == ["running"]  # adopted
    # The next is asked to stop: what runs writes its checkpoint.
    assert world.end() == 0
    assert [(job["state"], job["note"]) for job in world.jobs()] == [("waiting", "interrupted")]
    world.start()
    (job,) = world.done(1)
    assert (job["attempts"], job["note"]) == (1, "inconclusive")
    assert len(world.comments(pull.number)) == 1
    assert set(world.checks(head)) == {"lora-ci", "lora-ci / mei"}
    log = (world.state / "jobs" / str(job["id"]) / "log").read_text()
    assert "Traceback" not in log
    # Nothing secret is written down.
    secrets = [(world.root / "key.pem").read_text()[40:80], SECRET, "ghs_"]
    for path in [world.root / "server.log", *world.state.rglob("*")]:
        if path.is_file() and "objects" not in path.parts:
            text = path.read_bytes().decode(errors="replace")
            assert not [s for s in secrets if s in text], path


def trainings(world):
    """How many trainings were begun."""
    begun = ("running", "ended")
    return sum(step["stage"] == "train" and step["state"] in begun for step in world.steps())


def test_all_that_is_missing_is_told_at_once(tmp_path):
    bare = {"LORA_CI_TOKEN": "", "LORA_CI_WEBHOOK_SECRET": "short"}
    told = lora_ci(tmp_path, "serve", "--url", "x y", "--parallel", "0", "--port", "-1",
                   "--owner", "acme/loras", env=bare)  # fmt: skip
    assert told.code == 2
    assert len(told.errors()) == 6
    named = "5 characters", "neither an App nor a token", "no address", "--parallel 0", "--owner"
    for words in named:
        assert words in told.err
    both = ["--app-id", "1", "--token-file", "none", "--secret-file", "none"]
    told = lora_ci(tmp_path, "serve", *both, env=bare)
    assert len(told.errors()) == 3
    (tmp_path / "bad.pem").write_text("-----BEGIN RSA PRIVATE KEY-----")
    good = {"LORA_CI_WEBHOOK_SECRET": SECRET}
    told = lora_ci(tmp_path, "serve", "--app-id", "1", "--key-file", "bad.pem", env=good)
    assert_one_message(told, 2, "private key")


def test_the_docs_name_every_option(tmp_path):
    told = lora_ci(tmp_path, "serve", "--help")
    options = set(re.findall(r"--[a-z-]+", told.out)) - {"--help", "--json", "--quiet"}
    text = (Path(__file__).parents[2] / "docs" / "bot.md").read_text()
    assert {option for option in options if f"`{option}`" not in text} == set()


def test_one_server_for_a_folder(tmp_path):
    (tmp_path / "bot").mkdir()
    good = {"LORA_CI_WEBHOOK_SECRET": SECRET, "LORA_CI_TOKEN": "ghp_x"}
    with (tmp_path / "bot" / "server.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        told = lora_ci(tmp_path, "serve", "--state", "bot", env=good)
    assert_one_message(told, 2, "another server")
