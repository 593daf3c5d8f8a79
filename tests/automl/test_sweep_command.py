"""`lora-ci sweep` from the config to the change of it: with real trainings of a tiny model."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lora_ci.app.git_source import open_git_source
from lora_ci.app.handle import handle
from lora_ci.app.scope import Scope
from lora_ci.app.wiring import Places, open_deps
from lora_ci.cli.main import main
from lora_ci.config.model import FILE_NAME
from lora_ci.core.event import Event, EventKind
from lora_ci.core.step import Stage
from tests.builders import RepoBuilder, files_of
from tests.command import copy_repo
from tests.tiny_sd import write_dataset

CONFIG = """\
version: 1
loras:
  mei:
    dataset: datasets/mei  # eight squares
    base_model: models/tiny
    validate: {min_side: 32}
    train: {batch_size: 2, resolution: 16, schedule: constant, validation_share: 0.25}
    # what shall it be
    matrix:
      train.learning_rate: [1e-3, 1e-2]
      train.optimizer: [adamw, prodigy]
      train.epochs: [3, 1]
  leo: {dataset: datasets/mei, base_model: models/tiny, trigger: mei}
"""


@pytest.fixture(scope="module")
def template(tmp_path_factory, tiny_sd) -> Path:
    root = tmp_path_factory.mktemp("sweep")
    repo = RepoBuilder(root)
    repo.dvc_add("models/tiny", files_of(tiny_sd))
    repo.dvc_add("datasets/mei", files_of(write_dataset(root / "mei", images=8)))
    repo.write(FILE_NAME, CONFIG)
    repo.commit("a matrix")
    return root


@pytest.fixture
def repo(template, tmp_path) -> RepoBuilder:
    return copy_repo(template, tmp_path / "copy")


def sweep(repo: RepoBuilder, capsys, *args: str) -> tuple[int, dict, str]:
    code = main(["sweep", *args, "--repo", str(repo.root), "--json", "--quiet"])
    told = capsys.readouterr()
    return code, json.loads(told.out), told.err


def test_a_dry_run_says_what_it_comes_to_and_does_nothing(repo, capsys):
    assert main(["sweep", "mei", "--metric", "loss", "--dry-run", "--repo", str(repo.root)]) == 0
    told = capsys.readouterr().out
    assert "mei: 8 configurations, 3 trainings" in told
    assert "2 fewer: Prodigy finds its own learning rate" in told
    assert "3 fewer: a longer budget continues the training of a shorter one" in told
    assert not (repo.root / ".lora-ci").exists()
    code, plan, _ = sweep(repo, capsys, "mei", "--asha", "--dry-run")
    assert (code, plan["schema"]) == (0, "lora-ci.plan/1")
    assert {d["lora"].rpartition("-")[2] for d in plan["decisions"]} == {"1"}
    assert {d["stage"] for d in plan["decisions"]} == {"validate", "train", "qa"}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["leo"], "`leo` has no matrix"),
        (["nobody"], "no LoRA `nobody`"),
        (["mei", "--asha"], "has one budget"),
        (["mei", "--metric", "identiy"], "nothing measures that"),
        (["mei", "--metric", "xyz", "--dry-run"], "nothing measures that"),
    ],
)
def test_what_cannot_be_swept_is_told(repo, capsys, args, words):
    if "--asha" in args:
        repo.write(FILE_NAME, CONFIG.replace("[3, 1]", "[3]"))
        repo.commit("one budget")
    code, told, err = sweep(repo, capsys, *args)
    assert code == 2
    assert words in told["findings"][0]["message"]
    assert "→ next: " in err


def test_how_to_stop_early_without_stopping_early_is_refused(repo, capsys):
    assert main(["sweep", "mei", "--eta", "4", "--repo", str(repo.root)]) == 2
    assert "add --asha" in capsys.readouterr().err


@pytest.mark.parametrize("eta", ["1", "0", "-3", "2.5", "nan", "²"])
def test_one_in_how_many_goes_on_is_a_whole_number_from_2(repo, capsys, eta):
    with pytest.raises(SystemExit) as ended:
        main(["sweep", "mei", "--asha", f"--eta={eta}", "--repo", str(repo.root)])
    assert ended.value.code == 2
    assert "expected a whole number from 2" in capsys.readouterr().err


def test_the_other_commands_send_the_name_of_a_matrix_here(repo, capsys):
    assert main(["train", "mei", "--repo", str(repo.root), "--json", "--quiet"]) == 2
    (found,) = json.loads(capsys.readouterr().out)["findings"]
    assert found["hint"].startswith("next: lora-ci sweep mei")


@pytest.mark.slow
def test_all_configurations_are_told_each_training_is_done_once_and_the_best_can_be_written(
    repo, capsys
):
    code, told, _ = sweep(repo, capsys, "mei", "--metric", "loss", "--write")
    assert code == 0
    found = told["sweep"]
    assert (found["metric"], found["lower_is_better"]) == ("validation_loss", True)
    scores = [s["score"] for s in found["standings"]]
    assert scores == sorted(scores)
    assert len(scores) == 8
    assert (found["best"], found["standings"][0]["values"]["train.epochs"]) == (
        found["standings"][0]["lora"],
        3,
    )
    assert told["sharing"][0]["trainings"] == 3
    states = [*(repo.root / ".lora-ci" / "cache" / "states").iterdir()]
    assert len(states) == 3
    steps = [*(repo.root / ".lora-ci" / "steps").iterdir()]
    assert len(steps) == 1 + 6, "one validation, and no training of a twin"
    text = (repo.root / FILE_NAME).read_text()
    best = found["standings"][0]["values"]
    assert "matrix" not in text
    assert f"optimizer: {best['train.optimizer']}" in text
    assert "# what shall it be" in text
    repo.commit("the best")
    assert main(["plan", "--repo", str(repo.root), "--json", "--quiet"]) == 0
    plan = json.loads(capsys.readouterr().out)
    train = next(d for d in plan["decisions"] if (d["lora"], d["stage"]) == ("mei", "train"))
    assert train["action"] == "reuse", "what was chosen is trained already"


@pytest.mark.slow
def test_each_alone_gives_the_same_bytes_and_the_same_answer(repo, capsys, tmp_path):
    _, told, _ = sweep(repo, capsys, "mei", "--metric", "loss")
    by_name = {s["lora"]: s["score"] for s in told["sweep"]["standings"]}
    source = open_git_source(repo.root)
    event = Event(kind=EventKind.MANUAL, repo="r", head=source.repo.commit("HEAD"))
    shared = open_deps(source).records
    scope = Scope(last=Stage.TRAIN)
    for name, score in by_name.items():
        if not name.endswith("epochs-3"):
            continue
        deps = open_deps(source, places=Places(state=tmp_path / name))
        view = handle(event, deps, scope=replace(scope, loras=frozenset([name])))
        step = next(s for s in view.steps if s.decision.stage is Stage.TRAIN)
        assert step.result.metrics["validation_loss"] == score
        record = shared.find(step.decision.fingerprint.value)
        if record.lora == name:  # a file has the name of the LoRA that it was trained for
            assert record.result.artifacts == step.result.artifacts


@pytest.mark.slow
def test_early_stopping_finds_a_best_at_the_longest_budget_with_fewer_trainings(repo, capsys):
    code, told, _ = sweep(repo, capsys, "mei", "--metric", "loss", "--asha", "--eta", "3")
    assert code == 0
    epochs = [s["values"]["train.epochs"] for s in told["sweep"]["standings"]]
    assert sorted(epochs) == [1, 1, 1, 3]
    assert told["sweep"]["early"]
    best = told["sweep"]["standings"][0]
    assert best["values"]["train.epochs"] == 3
    _, again, _ = sweep(repo, capsys, "mei", "--metric", "loss", "--asha")
    assert again["sweep"]["best"] == best["lora"]
    assert all(s["took_s"] == 0 for s in again["sweep"]["standings"]), "nothing is done twice"


def test_a_work_tree_that_moved_on_is_left_alone_and_said_before_anything_trains(repo, capsys):
    (repo.root / FILE_NAME).write_text(CONFIG + "# mine\n")
    code, told, _ = sweep(repo, capsys, "mei", "--metric", "loss", "--write")
    assert code == 2
    assert "is not that of commit" in told["findings"][0]["message"]
    assert not (repo.root / ".lora-ci").exists()
    assert (repo.root / FILE_NAME).read_text() == CONFIG + "# mine\n"
