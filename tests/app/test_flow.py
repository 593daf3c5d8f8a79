"""The whole way with real parts: a git repository with DVC files, validation, training, report."""

import json
import time
from pathlib import Path

import pytest

from lora_ci.app.git_source import open_git_source
from lora_ci.app.wiring import Places, open_deps
from lora_ci.cli.main import main
from lora_ci.core.errors import InfrastructureError
from tests.builders import RepoBuilder, files_of
from tests.command import copy_repo
from tests.tiny_sd import write_dataset

CONFIG = """\
version: 1
defaults:
  base_model: models/tiny
  validate: {min_side: 32}
  train: {rank: 4, learning_rate: 1e-3, batch_size: 2, images_seen: 60, resolution: 16,
    checkpoint_every: 5}
  qa: {steps: 2, seeds: 1}
loras:
  mei: {dataset: datasets/mei, train: {seed: 1}}
  leo: {dataset: datasets/leo}
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory, tiny_sd) -> Path:
    root = tmp_path_factory.mktemp("flow")
    repo = RepoBuilder(root)
    repo.dvc_add("models/tiny", files_of(tiny_sd))
    for name, count in (("mei", 6), ("leo", 5)):
        files = files_of(write_dataset(root / name, images=count, trigger=name))
        repo.dvc_add(f"datasets/{name}", files)
    repo.write(".lora-ci.yml", CONFIG)
    repo.commit("two LoRAs")
    return root


@pytest.fixture
def repo(template, tmp_path) -> RepoBuilder:
    return copy_repo(template, tmp_path / "copy")


def lora_ci(repo: RepoBuilder, capsys, *args: str) -> tuple[int, dict]:
    code = main([*args, "--repo", str(repo.root), "--json", "--quiet"])
    return code, json.loads(capsys.readouterr().out)


def actions(plan: dict) -> dict[str, str]:
    return {f"{d['lora']} {d['stage']}": d["action"] for d in plan["decisions"]}


def adapters(view: dict) -> dict[str, str]:
    return {
        step["decision"]["lora"]: step["result"]["artifacts"][0]["sha256"]
        for step in view["steps"]
        if step["decision"]["stage"] == "train"
    }


@pytest.mark.slow
def test_a_push_is_validated_trained_reported_and_done_once(repo, capsys):
    # Nobody gave references, so QA cannot tell: that is no pass, and no fault either.
    code, view = lora_ci(repo, capsys, "run", "--pull-request", "7")
    assert (code, view["outcome"], view["notes"]) == (3, "inconclusive", [])
    forge = repo.root / ".lora-ci" / "forge"
    assert "❔ inconclusive" in (forge / "pulls" / "7" / "comment.md").read_text()
    page = (forge / "reports" / f"{view['run_id']}.html").read_text()
    assert "<svg" in page

    started = time.monotonic()
    code, again = lora_ci(repo, capsys, "run")
    assert (code, adapters(again)) == (3, adapters(view))
    assert {s["decision"]["action"] for s in again["steps"] if s["result"]} == {"reuse"}
    assert time.monotonic() - started < 10, "nothing may train again"

    # A changed caption of one LoRA, and another order of keys: only that LoRA is trained.
    mei = write_dataset(repo.root.parent / "mei2", images=6, trigger="mei")
    (mei / "00.txt").write_text("mei, changed\n")
    files = files_of(mei)
    repo.dvc_add("datasets/mei", files)
    repo.write(
        ".lora-ci.yml",
        CONFIG.replace("{rank: 4, learning_rate: 1e-3,", "{learning_rate: 0.001, rank: 4,"),
    )
    repo.commit("edit a caption")
    _, plan = lora_ci(repo, capsys, "plan")
    assert actions(plan)["leo train"] == "reuse"
    assert actions(plan)["mei validate"] == "run"
    why = {d["lora"]: d["why"] for d in plan["decisions"] if d["stage"] == "validate"}
    assert why["mei"] == "dataset: 1 caption edited, of 12 files"
    code, third = lora_ci(repo, capsys, "run")
    assert code == 3
    assert adapters(third)["leo"] == adapters(view)["leo"]
    assert adapters(third)["mei"] != adapters(view)["mei"]

    # Going back to the first tree costs nothing, however the history got there.
    repo.git("revert", "--no-edit", "HEAD")
    _, back = lora_ci(repo, capsys, "run")
    assert adapters(back) == adapters(view)
    assert main(["status", "--repo", str(repo.root)]) == 0
    assert main(["report", "--repo", str(repo.root)]) == 0


@pytest.mark.slow
def test_planted_faults_are_all_named_and_nothing_trains(repo, capsys, tmp_path):
    folder = write_dataset(tmp_path / "bad", images=6, trigger="mei")
    picture = (folder / "01.png").read_bytes()
    (folder / "01.png").write_bytes(picture[: len(picture) // 2])
    (folder / "02.txt").write_text("a square\n")
    repo.dvc_add("datasets/mei", files_of(folder))
    head = repo.commit("faults")
    manifest = repo.git("show", f"{head}:datasets/mei.dvc").split("md5: ")[1].split()[0]
    cache = repo.root / ".dvc" / "cache" / "files" / "md5"
    entries = json.loads((cache / manifest[:2] / manifest[2:]).read_text())
    repo.forget(next(e["md5"] for e in entries if e["relpath"] == "05.png"))
    code, view = lora_ci(repo, capsys, "run")
    assert (code, view["outcome"]) == (1, "failed")
    found = {
        (f["rule"], f["file"], f["line"])
        for s in view["steps"]
        if s["decision"]["lora"] == "mei" and s["result"]
        for f in s["result"]["findings"]
        if f["severity"] == "error"
    }
    assert found == {
        ("image.unreadable", "datasets/mei/01.png", None),
        ("caption.trigger-missing", "datasets/mei/02.txt", 1),
        ("dvc.object-missing", "datasets/mei/05.png", None),
    }
    trained = {
        s["decision"]["lora"]
        for s in view["steps"]
        if s["decision"]["stage"] == "train" and s["result"]
    }
    assert trained == {"leo"}


def test_an_untrusted_push_only_gets_validation(repo, capsys):
    _, plan = lora_ci(repo, capsys, "plan", "--untrusted")
    assert actions(plan)["mei validate"] == "run"
    _, view = lora_ci(repo, capsys, "run", "--untrusted")
    assert all(s["result"] is None for s in view["steps"] if s["decision"]["stage"] == "train")


def test_init_writes_a_config_that_is_fine_and_never_overwrites(tmp_path, capsys):
    write_dataset(tmp_path / "datasets" / "Mei Photos")
    assert main(["init", "--repo", str(tmp_path)]) == 0
    assert "mei-photos:" in (tmp_path / ".lora-ci.yml").read_text()
    assert main(["config", "check", "--repo", str(tmp_path)]) == 0
    assert main(["config", "show", "--repo", str(tmp_path)]) == 0
    assert main(["init", "--repo", str(tmp_path)]) == 2


def test_a_store_that_cannot_be_used_is_told_before_the_work(tmp_path):
    repo = RepoBuilder(tmp_path)
    repo.commit()
    (tmp_path / "file").touch()
    with pytest.raises(InfrastructureError, match="file cannot be used: File exists"):
        open_deps(open_git_source(repo.root), places=Places(objects=tmp_path / "file"))
