"""`--retrain` takes every step again, though what a training can go on from is still there."""

import json

import pytest

from lora_ci.cli.main import main
from tests.builders import RepoBuilder, files_of
from tests.tiny_sd import write_dataset

CONFIG = """\
version: 1
loras:
  mei:
    dataset: datasets/mei
    base_model: models/tiny
    validate: {min_side: 32}
    train: {rank: 2, batch_size: 2, steps: 5, resolution: 16, schedule: constant}
"""


@pytest.mark.slow
def test_what_is_trained_again_goes_on_from_nothing(tmp_path, tiny_sd, capsys):
    repo = RepoBuilder(tmp_path)
    repo.dvc_add("models/tiny", files_of(tiny_sd))
    dataset = write_dataset(tmp_path / "d", images=5, trigger="mei")
    repo.dvc_add("datasets/mei", files_of(dataset))
    repo.write(".lora-ci.yml", CONFIG)
    repo.commit()
    results = []
    for more in ((), ("--retrain",)):
        assert main(["train", "mei", *more, "--repo", str(repo.root), "--json", "--quiet"]) == 0
        steps = json.loads(capsys.readouterr().out)["steps"]
        results += [s["result"] for s in steps if s["decision"]["stage"] == "train"]
    first, again = results
    assert again["artifacts"] == first["artifacts"]
    # Only steps that were taken have a speed.
    assert again["metrics"]["step_s"] > 0
