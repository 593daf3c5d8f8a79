"""A training in shards: two steps side by side, killed and called again, then merged exactly."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from lora_ci.cli.main import main
from tests.builders import RepoBuilder, files_of
from tests.command import copy_repo, end, lora_ci, start
from tests.tiny_sd import write_dataset

CONFIG = """\
version: 1
loras:
  mei:
    dataset: datasets/mei
    base_model: models/tiny
    validate: {min_side: 32}
    train: {shards: 2, rank: 4, learning_rate: 1e-3, batch_size: 2, images_seen: 239,
      resolution: 16, checkpoint_every: 5}
"""
SHARDS = ("mei.shard-1-of-2", "mei.shard-2-of-2")
SIDE_BY_SIDE = ("--executor", "local", "--parallel", "2")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def template(tmp_path_factory, tiny_sd) -> Path:
    root = tmp_path_factory.mktemp("shards")
    repo = RepoBuilder(root)
    repo.dvc_add("models/tiny", files_of(tiny_sd))
    repo.dvc_add("datasets/mei", files_of(write_dataset(root / "mei", images=7)))
    repo.write(".lora-ci.yml", CONFIG)
    repo.commit("two shards")
    return root


@pytest.fixture(scope="module")
def undisturbed(template, tmp_path_factory) -> tuple[RepoBuilder, dict]:
    """A repository after a run that nobody stopped, and what the run said."""
    repo = copy_repo(template, tmp_path_factory.mktemp("undisturbed") / "copy")
    return repo, trained(repo)


@pytest.fixture
def repo(template, tmp_path) -> RepoBuilder:
    return copy_repo(template, tmp_path / "copy")


def trained(repo: RepoBuilder, *options: str) -> dict:
    """The steps of `train` by the name of the LoRA, of a run to its end."""
    told = lora_ci(repo.root, "train", "mei", "--json", *SIDE_BY_SIDE, *options)
    assert told.code == 0, told.err
    steps = json.loads(told.out)["steps"]
    return {s["decision"]["lora"]: s for s in steps if s["decision"]["stage"] == "train"}


def digests(steps: dict) -> dict[str, str]:
    return {
        f"{lora} {made['name']}": made["sha256"]
        for lora, step in steps.items()
        for made in step["result"]["artifacts"]
    }


def object_of(repo: RepoBuilder, steps: dict, lora: str) -> Path:
    """The file of an adapter."""
    sha256 = digests(steps)[f"{lora} adapter.safetensors"]
    return repo.root / ".lora-ci" / "objects" / sha256[:2] / sha256[2:]


def begun(repo: RepoBuilder) -> int:
    """How many trainings have a checkpoint."""
    found = (repo.root / ".lora-ci" / "steps").glob("*/work/checkpoints/step-*")
    return len({path.parents[2] for path in found})


def processes_of(repo: RepoBuilder) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(repo.root) in path.read_bytes().replace(b"\0", b" ").decode():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_each_shard_sees_its_part_and_the_merge_is_that_of_the_files(undisturbed, tmp_path):
    repo, steps = undisturbed
    assert list(steps) == [*SHARDS, "mei"]
    images = [steps[lora]["result"]["metrics"]["images"] for lora in SHARDS]
    assert sorted(images) == [3, 4]
    seen = [steps[lora]["result"]["metrics"]["images_seen"] for lora in SHARDS]
    assert seen == [120, 120]
    metrics = steps["mei"]["result"]["metrics"]
    assert metrics == {"shards": 2, "rank": 8, "images": 7, "steps": 120, "images_seen": 240}
    parts = [str(object_of(repo, steps, lora)) for lora in SHARDS]
    out = tmp_path / "merged.safetensors"
    assert main(["shard", "merge", *parts, "--out", str(out), "--quiet"]) == 0
    assert out.read_bytes() == object_of(repo, steps, "mei").read_bytes()


def test_a_shard_is_what_its_folder_alone_would_be_trained_to(undisturbed, repo, tmp_path, capsys):
    """`shard split` gives a site the pictures that the step takes for itself."""
    _, steps = undisturbed
    out = tmp_path / "out"
    write_dataset(tmp_path / "mei", images=7)
    assert main(["shard", "split", str(tmp_path / "mei"), "--sites", "2", "--out", str(out)]) == 0
    for number, lora in enumerate(SHARDS, 1):
        repo.dvc_add(f"datasets/site-{number}", files_of(out / f"site-{number}"))
        alone = CONFIG.replace("shards: 2, ", "").replace("239", "120")
        alone = alone.replace("datasets/mei", f"datasets/site-{number}")
        repo.write(".lora-ci.yml", alone + "    # as at a site\n")
        text = (repo.root / ".lora-ci.yml").read_text()
        repo.write(".lora-ci.yml", text.replace("min_side: 32", "min_side: 32, min_images: 1"))
        repo.commit()
        by_hand = digests(trained(repo))["mei adapter.safetensors"]
        assert by_hand == digests(steps)[f"{lora} adapter.safetensors"]
    capsys.readouterr()


def test_a_shard_alone_is_what_a_job_elsewhere_may_be_asked_for(undisturbed, repo):
    told = lora_ci(
        repo.root, "run", "--only", SHARDS[1], "--until", "train", "--json", *SIDE_BY_SIDE
    )
    assert told.code == 0, told.err
    steps = json.loads(told.out)["steps"]
    did = [(s["decision"]["lora"], s["decision"]["stage"]) for s in steps]
    assert did == [("mei", "validate"), (SHARDS[1], "train")]
    made = {SHARDS[1]: steps[1]}
    assert digests(made).items() <= digests(undisturbed[1]).items()
    told = lora_ci(repo.root, "explain", SHARDS[1])
    assert "train: reuse" in told.out
    told = lora_ci(repo.root, "run", "--only", "mei.shard-3-of-2")
    assert "no LoRA `mei.shard-3-of-2` is in the config" in told.err


def test_killed_in_the_middle_of_both_it_comes_to_the_same_bytes(undisturbed, repo):
    process = start(repo.root, "train", "mei", *SIDE_BY_SIDE)
    deadline = time.monotonic() + 120
    while begun(repo) < 2:  # both at once: neither has waited for the other's end
        assert process.poll() is None, end(process)
        assert time.monotonic() < deadline
        time.sleep(0.005)
    for pid in {process.pid, *processes_of(repo)}:
        os.kill(pid, signal.SIGKILL)
    end(process)
    assert digests(trained(repo)) == digests(undisturbed[1])


def test_a_second_run_trains_nothing_and_a_lost_part_is_not_missed(undisturbed, tmp_path):
    first, steps = undisturbed
    repo = copy_repo(first.root.parent, tmp_path / "again")
    again = trained(repo)
    assert {s["decision"]["action"] for s in again.values()} == {"reuse"}
    assert digests(again) == digests(steps)
    object_of(repo, steps, SHARDS[0]).unlink()
    without = trained(repo)
    assert list(without) == [SHARDS[1], "mei"]
    assert {s["decision"]["action"] for s in without.values()} == {"reuse"}
    # Only once the merged adapter is lost too, what is missing of it is made.
    object_of(repo, steps, "mei").unlink()
    mended = trained(repo)
    assert digests(mended) == digests(steps)
    acted = {lora: step["decision"]["action"] for lora, step in mended.items()}
    assert acted == {SHARDS[0]: "run", SHARDS[1]: "reuse", "mei": "run"}
