"""Fewer images than shards: told at the line of `shards:`, before anything runs."""

import pytest

from lora_ci.app.git_source import open_git_source
from lora_ci.cli.main import main
from lora_ci.core.event import Event, EventKind
from lora_ci.diffusion.families import SD1
from tests.builders import RepoBuilder

CONFIG = """\
version: 1
loras:
  mei:
    dataset: [datasets/mei, datasets/ming]
    base_model: models/sd
    train:
      validation_share: SHARE
      shards: COUNT
"""
BASE = {"model_index.json": b"{}", **{f"{part}/config.json": b"{}" for part in SD1.parts}}


@pytest.fixture
def repo(tmp_path) -> RepoBuilder:
    """Five images in two sources."""
    repo = RepoBuilder(tmp_path)
    repo.dvc_add("models/sd", BASE)
    repo.dvc_add("datasets/mei", {"a.png": b"1", "b.jpg": b"2", "a.txt": b"mei"})
    repo.dvc_add("datasets/ming", {"c/a.webp": b"3", "c/b.PNG": b"4", "d.png": b"5"})
    return repo


def findings(repo: RepoBuilder, share: str, count: int):
    repo.write(".lora-ci.yml", CONFIG.replace("SHARE", share).replace("COUNT", str(count)))
    event = Event(kind=EventKind.PUSH, repo="r", head=repo.commit())
    return open_git_source(repo.root).gather(event).facts["mei"].findings


@pytest.mark.parametrize(
    ("share", "count", "told"),
    [
        ("0", 5, None),
        ("0", 6, "`shards: 6`: 5 images in the dataset"),
        ("0.2", 4, None),
        ("0.2", 5, "`shards: 5`: 4 images in the dataset beside 1 held out"),
    ],
)
def test_every_shard_needs_an_image_to_learn_from(repo, share, count, told):
    found = findings(repo, share, count)
    assert [finding.message for finding in found] == ([told] if told else [])
    for finding in found:
        assert finding.location() == ".lora-ci.yml:8:15"
        assert f"`shards` of at most {count - 1}" in (finding.hint or "")


def test_nothing_is_planned_for_it_and_the_line_is_shown(repo, capsys):
    findings(repo, "0", 6)
    assert main(["plan", "--repo", str(repo.root)]) == 1
    told = capsys.readouterr()
    assert ".lora-ci.yml:8:15" in told.err
    assert "nothing to run" in told.out
    assert ".shard-" not in told.out
