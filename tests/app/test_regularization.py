"""Regularization images are an input of training alone: their content counts, not their place."""

import json
from pathlib import Path

import pytest

from lora_ci.app.git_source import open_git_source
from lora_ci.app.specs import INPUTS
from lora_ci.cli.main import main
from lora_ci.core.event import Event, EventKind
from lora_ci.core.step import Stage
from lora_ci.diffusion.families import SD1
from lora_ci.plan.fingerprints import train_fingerprint, validate_fingerprint
from lora_ci.plan.why import Sight
from tests.builders import RepoBuilder

CONFIG = """\
version: 1
loras:
  mei:
    dataset: datasets/mei
    base_model: models/sd
    train: {TRAIN}
"""
PICTURES = {f"{i}.png": b"picture %d" % i for i in range(3)}


@pytest.fixture
def repo(tmp_path: Path) -> RepoBuilder:
    repo = RepoBuilder(tmp_path)
    parts = {f"{part}/config.json": b"{}" for part in SD1.parts}
    repo.dvc_add("models/sd", {"model_index.json": b"{}", **parts})
    repo.dvc_add("datasets/mei", PICTURES)
    repo.dvc_add("women", {"w.png": b"woman", "w.txt": b"a woman"})
    return repo


def seen(repo: RepoBuilder, train: str):
    """The LoRA, its facts and what has changed, at a new commit with these train settings."""
    repo.write(".lora-ci.yml", CONFIG.replace("TRAIN", train))
    head = repo.commit()
    source = open_git_source(repo.root)
    gathered = source.gather(Event(kind=EventKind.PUSH, repo="r", head=head))
    return gathered.config.loras["mei"], gathered.facts["mei"], gathered


def test_content_moves_training_and_a_new_place_does_not(repo):
    plain = seen(repo, "rank: 8")[:2]
    lora, facts, _ = seen(repo, "rank: 8, regularization: women")
    assert not facts.findings
    first = train_fingerprint(lora, facts)
    assert first.value != train_fingerprint(*plain).value
    assert validate_fingerprint(lora, facts) == validate_fingerprint(*plain)
    assert "regularization" not in train_fingerprint(*plain).parts
    repo.dvc_add("elsewhere/women", {"w.png": b"woman", "w.txt": b"a woman"})
    moved = seen(repo, "rank: 8, regularization: elsewhere/women")[:2]
    assert train_fingerprint(*moved) == first
    repo.dvc_add("women", {"w.png": b"another", "w.txt": b"a woman"})
    other = seen(repo, "rank: 8, regularization: women")[:2]
    assert train_fingerprint(*other).changed_parts(first.parts) == ("regularization",)


def test_why_names_what_moved_in_it(repo):
    seen(repo, "regularization: women")
    repo.dvc_add("women", {"w.png": b"woman", "v.png": b"woman 2"})
    _, facts, gathered = seen(repo, "regularization: women")
    now = {"regularization": facts.regularization.content_id}
    told = Sight(facts, gathered.changes, lambda _now, _then: None).part(
        "regularization", now, {"regularization": "md5:old"}
    )
    assert told.startswith("regularization: ")


@pytest.mark.parametrize(
    ("path", "told"),
    [("missing", "missing"), ("models/sd", "no image in `models/sd`")],
)
def test_a_folder_that_is_not_there_or_has_no_images_is_told_at_its_line(repo, capsys, path, told):
    repo.write(".lora-ci.yml", CONFIG.replace("TRAIN", f"regularization: {path}"))
    repo.commit()
    main(["plan", "--repo", str(repo.root), "--json"])
    (finding,) = json.loads(capsys.readouterr().out)["findings"]
    assert finding["rule"] == "inputs.regularization"
    assert (finding["file"], finding["line"]) == (".lora-ci.yml", 6)
    assert told in finding["message"]


def test_what_was_not_pushed_blocks_training_with_a_hint(repo, capsys):
    repo.dvc_add("men", {"m.png": b"man"}, push=False)
    repo.clear_cache()
    repo.write(".lora-ci.yml", CONFIG.replace("TRAIN", "regularization: men"))
    repo.commit()
    main(["plan", "--repo", str(repo.root), "--json"])
    plan = json.loads(capsys.readouterr().out)
    assert "dvc push" in plan["findings"][0]["hint"]


def test_only_training_gets_them():
    assert [stage for stage, names in INPUTS.items() if "regularization" in names] == [Stage.TRAIN]
