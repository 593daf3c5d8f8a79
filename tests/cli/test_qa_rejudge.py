"""`qa rejudge`: what is trained is judged by the present ruler from what is kept; no training."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.builders import RepoBuilder, files_of
from tests.command import Told, assert_one_message, copy_repo, lora_ci
from tests.tiny_sd import write_dataset

pytestmark = pytest.mark.slow

CONFIG = """\
version: 1
defaults:
  base_model: models/tiny
  validate: {min_side: 32}
  train: {rank: 4, batch_size: 2, images_seen: 4, resolution: 16}
  qa:
    steps: 2
    seeds: 2
    resolution: 16
    references: datasets/references
    prompts: ["{trigger}, a tile", "{trigger}, a wall", "{trigger}, a floor"]
    gates: {identity: ">= 0.1"}
loras:
  mei: {dataset: datasets/mei}
  zoe: {dataset: datasets/zoe}
"""


def write_tiles(folder: Path) -> Path:
    """Pictures that are like none of the dataset."""
    folder.mkdir()
    chance = np.random.default_rng(7)
    for i in range(4):
        tiles = Image.fromarray(chance.integers(0, 255, (4, 4, 3), np.uint8))
        tiles.resize((64, 64), Image.Resampling.NEAREST).save(folder / f"tile-{i}.png")
    return folder


@pytest.fixture(scope="module")
def template(tmp_path_factory, tiny_sd) -> Path:
    """A repository in which `mei` is trained and judged, and `zoe` is not."""
    root = tmp_path_factory.mktemp("rejudge")
    repo = RepoBuilder(root)
    repo.dvc_add("models/tiny", files_of(tiny_sd))
    for name in ("mei", "zoe"):
        repo.dvc_add(f"datasets/{name}", files_of(write_dataset(root / name)))
    repo.dvc_add("datasets/references", files_of(write_tiles(root / "references")))
    repo.write(".lora-ci.yml", CONFIG)
    repo.commit()
    told = lora_ci(repo.root, "qa", "mei")
    assert " qa " in told.out, told.err + told.out
    return root


@pytest.fixture
def repo(template, tmp_path) -> RepoBuilder:
    return copy_repo(template, tmp_path / "copy")


def judged(told: Told) -> dict:
    """The result of the judgement that a run with `--json` tells."""
    steps = json.loads(told.out)["steps"]
    (qa,) = [step["result"] for step in steps if step["decision"]["stage"] == "qa"]
    return qa


def test_another_gate_is_judged_from_what_is_kept_though_the_base_is_junk(repo):
    before = judged(lora_ci(repo.root, "qa", "mei", "--json"))
    repo.write(".lora-ci.yml", CONFIG.replace(">= 0.1", ">= 0.2"))
    repo.commit()
    junk = list((repo.root / ".lora-ci" / "inputs").glob("*/*/*.safetensors"))
    assert len(junk) >= 3
    for weights in junk:
        weights.write_bytes(b"junk")
    told = lora_ci(repo.root, "qa", "rejudge", "mei", "--json")
    now = judged(told)
    assert told.code in (0, 1, 3), told.err
    assert {gate["metric"]: gate["condition"] for gate in now["details"]["gates"]}["identity"] == (
        ">= 0.2"
    )
    drawn = now["details"]["drawn"]
    assert drawn["made"] == 0
    assert drawn["kept"] == sum(before["details"]["drawn"].values())
    assert f"mei: judged anew: {drawn['kept']} pictures were kept, 0 were made" in told.err
    assert now["details"]["ruler"] != before["details"]["ruler"]
    assert now["metrics"] == before["metrics"]
    again = lora_ci(repo.root, "qa", "rejudge", "mei")
    assert "mei: judged by this ruler before" in again.err
    assert again.code == told.code


def test_what_has_no_adapter_is_named_and_left_out(repo):
    told = lora_ci(repo.root, "qa", "rejudge", "--all")
    assert told.code in (0, 1, 3)
    assert "zoe is left out" in told.err
    assert "lora-ci train zoe" in told.err
    assert "zoe" not in told.out
    assert "mei" in told.out
    alone = lora_ci(repo.root, "qa", "rejudge", "zoe", "--json")
    assert alone.code == 3
    found = json.loads(alone.out)
    assert (found["judged"], found["without_adapter"]) == ([], ["zoe"])
    assert not list((repo.root / ".lora-ci" / "steps").glob("*/spec.json")) or not any(
        "zoe" in path.read_text() for path in (repo.root / ".lora-ci" / "steps").glob("*/spec.json")
    )


def test_one_that_needs_another_waits_for_no_training(repo):
    repo.write(".lora-ci.yml", CONFIG.replace("datasets/mei}", "datasets/mei, needs: [zoe]}"))
    repo.commit()
    told = lora_ci(repo.root, "qa", "rejudge", "mei")
    assert told.code == 3, told.err
    assert "mei is left out: no adapter of zoe" in told.err


def test_an_adapter_that_is_gone_is_none(repo):
    shutil.rmtree(repo.root / ".lora-ci" / "objects")
    told = lora_ci(repo.root, "qa", "rejudge", "mei")
    assert told.code == 3
    assert "mei is left out" in told.err


def test_what_is_asked_must_be_said(repo):
    assert_one_message(lora_ci(repo.root, "qa", "rejudge"), 2, "which LoRAs?", "--all")
    assert_one_message(lora_ci(repo.root, "qa", "rejudge", "mei", "--all"), 2, "which LoRAs?")
    assert_one_message(lora_ci(repo.root, "qa", "rejudge", "tom"), 2, "no LoRA `tom`", "mei")
    assert lora_ci(repo.root, "qa", "rejudge", "mei", "--retrain").code == 2
