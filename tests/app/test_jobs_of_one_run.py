"""Several jobs on machines that know nothing of each other are one run, without a server."""

import io
import json
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from tests.builders import RepoBuilder, files_of
from tests.command import copy_repo
from tests.fake_github import FakeGitHub
from tests.tiny_sd import write_dataset

REPO = "acme/loras"
CONFIG = """\
version: 1
defaults:
  base_model: models/tiny
  validate: {min_side: 32}
  train: {rank: 4, learning_rate: 1e-3, batch_size: 2, images_seen: 8, resolution: 16}
  qa: {steps: 2, seeds: 1}
loras:
  mei: {dataset: datasets/mei, train: {seed: 1}}
  leo: {dataset: datasets/leo}
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory, tiny_sd) -> Path:
    root = tmp_path_factory.mktemp("jobs")
    repo = RepoBuilder(root)
    repo.write("README.md", "LoRAs\n")
    repo.commit("start")
    repo.git("checkout", "-q", "-b", "topic")
    repo.dvc_add("models/tiny", files_of(tiny_sd))
    for name, count in (("mei", 6), ("leo", 5)):
        repo.dvc_add(f"datasets/{name}", files_of(write_dataset(root / name, count, name)))
    repo.write(".lora-ci.yml", CONFIG)
    repo.commit("two LoRAs")
    return root


@dataclass
class Workflow:
    """A workflow run at the fake: each job is a fresh clone and one command in it."""

    hub: FakeGitHub
    builder: RepoBuilder
    place: Path
    event: Path
    number: int
    token: str

    def job(self, name: str, *args: str) -> tuple[int, dict[str, str], Path]:
        """Runs a command on a machine of its own; its exit code, its outputs, its bundle."""
        machine = self.place / f"{self.number}-{name}"
        clone, output, bundle = machine / "repo", machine / "output", machine / "bundle"
        machine.mkdir()
        output.touch()
        git = ["git", "-C", str(clone)]
        subprocess.run(["git", "clone", "-q", self.builder.root, str(clone)], check=True)
        url = self.hub.git_url(REPO)
        subprocess.run([*git, "remote", "set-url", "origin", url], check=True)
        config = Path(self.builder.root, ".dvc", "config.local")
        if config.exists():
            (clone / ".dvc" / "config.local").write_bytes(config.read_bytes())
        env = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(machine),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "GITHUB_TOKEN": self.token,
            "GITHUB_REPOSITORY": REPO,
            "GITHUB_API_URL": self.hub.api_url,
            "GITHUB_SERVER_URL": self.hub.web_url,
            "GITHUB_RUN_ID": str(self.number),
            "GITHUB_RUN_ATTEMPT": "1",
        }
        common = ["--repo", str(clone), "--forge", "github", "--records", "origin", "--quiet"]
        common += ["--github-output", str(output)]
        done = subprocess.run(
            [sys.executable, "-m", "lora_ci", *args, *common],
            env=env, cwd=machine, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert self.token not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        self.said = done.stdout + done.stderr
        return done.returncode, read_outputs(output), bundle

    def upload(self, name: str, bundle: Path) -> None:
        """What actions/upload-artifact does."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for path in sorted(bundle.rglob("*")):
                if path.is_file():
                    archive.write(path, path.relative_to(bundle))
        address = f"{self.hub.web_url}/_fake/artifacts/{REPO}/{self.number}/{name}"
        with urlopen(Request(address, data=packed.getvalue(), method="PUT"), timeout=30):
            pass

    def whole(self) -> tuple[int, dict[str, str], dict[str, str]]:
        """plan → a job for each share → report, as the reusable workflow does it."""
        event = ["--event", str(self.event), "--event-name", "pull_request"]
        name = f"lora-ci-plan-{self.number}"
        bundle = self.place / f"{self.number}-plan" / "bundle"
        _, planned, _ = self.job("plan", "plan", *event, *self.bundled(bundle, name))
        self.upload(name, bundle)
        asked = self.place / f"{self.number}-asked.json"
        asked.write_text(planned["asked"])
        bundles = [bundle]
        if planned["any"] == "true":
            for entry in json.loads(planned["matrix"])["include"]:
                name = f"lora-ci-{self.number}-1-{entry['key']}"
                bundle = self.place / f"{self.number}-{entry['key']}" / "bundle"
                only = [f"--only={lora}" for lora in entry["loras"].split()]
                arguments = ["--asked", str(asked), *only, *self.bundled(bundle, name)]
                self.job(entry["key"], "run", *arguments)
                self.upload(name, bundle)
                bundles.append(bundle)
        gathered = self.place / f"{self.number}-bundles"
        for at, bundle in enumerate(bundles):
            (gathered / str(at)).parent.mkdir(exist_ok=True)
            (gathered / str(at)).symlink_to(bundle)
        places = self.place / f"{self.number}-gathered"
        subprocess.run(["cp", "-rL", gathered, places], check=True)
        code, told, _ = self.job("report", "report", "--bundles", str(places))
        return code, planned, told

    @staticmethod
    def bundled(bundle: Path, name: str) -> list[str]:
        return ["--bundle", str(bundle), "--bundle-name", name]


def read_outputs(path: Path) -> dict[str, str]:
    """The outputs of a step, as GitHub's runner reads them."""
    found, lines = {}, iter(path.read_text().splitlines())
    for line in lines:
        name, _, end = line.partition("<<")
        values = []
        while (value := next(lines)) != end:
            values.append(value)
        found[name] = "\n".join(values)
    return found


@pytest.mark.slow
def test_jobs_that_share_nothing_but_github_are_one_run_and_do_it_once(template, tmp_path):
    builder = copy_repo(template, tmp_path / "copy")
    with FakeGitHub() as hub:
        hub.add_repo(REPO, path=builder.root / ".git")
        head = builder.git("rev-parse", "topic")
        pull = hub.open_pull(REPO, head=head, head_ref="topic")
        event = tmp_path / "event.json"
        event.write_text(json.dumps(hub.payload("pull_request.opened", REPO, number=pull.number)))
        token = hub.token({"contents": "write", "checks": "write", "pull_requests": "write",
                           "issues": "write", "actions": "read"}, kind="actions")  # fmt: skip
        first = Workflow(hub, builder, tmp_path, event, 71, token)
        code, planned, told = first.whole()
        # Nobody gave references, so QA cannot tell.
        assert (code, told["verdict"]) == (3, "inconclusive"), first.said
        entries = json.loads(planned["matrix"])["include"]
        assert [(e["key"], e["gpu"]) for e in entries] == [("mei", True), ("leo", True)]
        comments = [c.body for c in hub.repo(REPO).comments_on(pull.number)]
        assert len(comments) == 1
        assert "inconclusive" in comments[0]
        assert "actions-71-1" in comments[0].replace("\\", "")

        again = Workflow(hub, builder, tmp_path, event, 72, token)
        code, planned, told = again.whole()
        assert (code, told["verdict"]) == (3, "inconclusive"), again.said
        assert planned["any"] == "false"
        comments = [c.body for c in hub.repo(REPO).comments_on(pull.number)]
        assert len(comments) == 1
        assert "actions-72-1" in comments[0].replace("\\", "")
