"""`repeats` as the trainer gets them: an epoch of a source that counts three times is three."""

import json

import pytest

from lora_ci.cli.main import main
from tests.builders import RepoBuilder, files_of
from tests.tiny_sd import write_dataset

CONFIG = """\
version: 1
loras:
  mei:
    dataset: {path: datasets/mei, repeats: 3}
    base_model: models/tiny
    validate: {min_side: 32}
    train: {rank: 2, batch_size: 2, epochs: 1, resolution: 16}
"""


@pytest.mark.slow
def test_an_epoch_shows_a_picture_as_often_as_its_source_repeats(tmp_path, tiny_sd, capsys):
    repo = RepoBuilder(tmp_path)
    repo.dvc_add("models/tiny", files_of(tiny_sd))
    dataset = write_dataset(tmp_path / "d", images=5, trigger="mei")
    repo.dvc_add("datasets/mei", files_of(dataset))
    repo.write(".lora-ci.yml", CONFIG)
    repo.commit()
    assert main(["train", "mei", "--repo", str(repo.root), "--json", "--quiet"]) == 0
    steps = json.loads(capsys.readouterr().out)["steps"]
    metrics = next(s["result"]["metrics"] for s in steps if s["decision"]["stage"] == "train")
    assert (metrics["epoch_images"], metrics["steps"]) == (15, 8)
