"""Full disks, damaged weights and artifacts while a LoRA is trained: told once, then gone on."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import RepoBuilder, files_of
from tests.command import Told, assert_one_message, copy_repo, lora_ci
from tests.tiny_sd import write_dataset

# At this rank a checkpoint has 2 MB and an adapter 0.6 MB; the ledger stays below both.
CONFIG = """\
version: 1
defaults:
  base_model: models/tiny
  validate: {min_side: 32}
  train: {rank: 64, learning_rate: 1e-3, batch_size: 2, images_seen: 16, resolution: 16,
    checkpoint_every: 3}
  qa: {resolution: 16, steps: 1, seeds: 1}
loras:
  mei: {dataset: datasets/mei}
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def template(tmp_path_factory, tiny_sd) -> Path:
    root = tmp_path_factory.mktemp("trouble")
    repo = RepoBuilder(root)
    repo.dvc_add("models/tiny", files_of(tiny_sd))
    repo.dvc_add("datasets/mei", files_of(write_dataset(root / "mei")))
    repo.write(".lora-ci.yml", CONFIG)
    repo.commit()
    return root


@pytest.fixture(scope="module")
def wanted(template, tmp_path_factory) -> dict[str, str]:
    """What a machine without trouble trains."""
    repo = copy_repo(template, tmp_path_factory.mktemp("untroubled") / "copy")
    return adapters(train(repo, "--json"))


@pytest.fixture
def repo(template, tmp_path) -> RepoBuilder:
    return copy_repo(template, tmp_path / "copy")


def train(repo: RepoBuilder, *args: str, **limits: int) -> Told:
    return lora_ci(repo.root, "train", "mei", *args, **limits)


def adapters(told: Told) -> dict[str, str]:
    assert told.code == 0, told.err + told.out
    steps = json.loads(told.out)["steps"]
    trained = next(s["result"] for s in steps if s["decision"]["stage"] == "train")
    return {artifact["name"]: artifact["sha256"] for artifact in trained["artifacts"]}


@pytest.mark.parametrize(
    ("checkpoint_every", "max_file_bytes", "executor"),
    [(3, 1_200_000, "inline"), (500, 400_000, "local")],
    ids=["a checkpoint", "an adapter"],
)
def test_a_limit_on_files_is_named_and_lifted_the_same_command_goes_on(
    repo, wanted, checkpoint_every, max_file_bytes, executor
):
    repo.write(".lora-ci.yml", CONFIG.replace("every: 3", f"every: {checkpoint_every}"))
    repo.commit()
    assert lora_ci(repo.root, "run", "--untrusted").code == 3  # inputs are laid out by now
    told = train(repo, "--executor", executor, max_file_bytes=max_file_bytes)
    step = str(repo.root / ".lora-ci" / "steps")
    assert_one_message(told, 4, "train of mei", step, "File too large", "ulimit -f")
    assert list((repo.root / ".lora-ci" / "steps").glob("*/work/**/.*")) == []
    assert adapters(train(repo, "--executor", executor, "--json")) == wanted


@pytest.fixture
def small_disk(repo) -> Iterator[Path]:
    """A real, small file system where the state is."""
    state = repo.root / ".lora-ci"
    state.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(state)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False).returncode != 0:
        pytest.skip("mounting a small tmpfs needs root")
    yield state
    subprocess.run(["umount", "-l", str(state)], check=True)


def resize(disk: Path, size_kib: int) -> None:
    command = ["mount", "-o", f"remount,size={size_kib}k", str(disk)]
    subprocess.run(command, check=True)


def test_a_disk_that_is_full_again_and_again_is_told_each_time(repo, wanted, small_disk):
    """Wherever it is full: ledger, inputs, caches, checkpoints, adapters, artifacts, report."""
    told = train(repo)
    assert_one_message(told, 4, str(small_disk))
    stages = set()
    size_kib = 300
    while told.code != 0:
        size_kib += 1500
        assert size_kib < 20_000
        resize(small_disk, size_kib)
        told = train(repo)
        if told.code:
            assert told.code == 4, told.out
            assert len(told.errors()) == 1, told.err
            assert "No space left" in told.err or "disk" in told.err
            stages |= {stage for stage in ("validate", "train") if f"{stage} of mei" in told.err}
    assert "train" in stages
    assert adapters(train(repo, "--json")) == wanted


def test_damaged_weights_fail_the_training_once_and_whole_ones_pass(repo, wanted, tiny_sd):
    good = files_of(tiny_sd)
    bad = {**good, "text_encoder/model.safetensors": good["text_encoder/model.safetensors"][:900]}
    repo.dvc_add("models/tiny", bad)
    repo.commit()
    told = train(repo)
    assert_one_message(told, 1, "train of mei", "models/tiny/text_encoder", "dvc add")
    assert "failed (reused)" in train(repo).out
    repo.dvc_add("models/tiny", good)
    repo.commit()
    assert adapters(train(repo, "--json")) == wanted


def test_a_damaged_artifact_is_no_verdict_and_is_made_anew(repo, wanted):
    assert adapters(train(repo, "--json")) == wanted
    sha256 = wanted["adapter.safetensors"]
    artifact = repo.root / ".lora-ci" / "objects" / sha256[:2] / sha256[2:]
    artifact.write_bytes(b"not it")
    told = lora_ci(repo.root, "run")
    assert_one_message(told, 4, "qa of mei", "was changed on disk", f"rm {artifact}")
    artifact.unlink()
    again = lora_ci(repo.root, "run", "--json")
    assert again.code == 3, again.err  # without references the verdict is open, but there is one
    assert artifact.is_file()
