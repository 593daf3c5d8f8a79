"""One Python call from folders to a verdict, without git and DVC."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lora_ci.app.folder_source import read_source
from lora_ci.app.git_source import open_git_source
from lora_ci.app.plan_event import plan_event
from lora_ci.app.records import NoRecords
from lora_ci.changes.git import open_repository
from lora_ci.core.clock import SystemClock
from lora_ci.core.errors import InfrastructureError, UsageError
from lora_ci.core.event import Event, EventKind
from lora_ci.core.plan import Action
from lora_ci.core.run import RunView
from lora_ci.core.step import Outcome, Stage
from lora_ci.pipeline import run
from tests.builders import RepoBuilder, files_of
from tests.tiny_sd import write_dataset

CONFIG = """\
version: 1
defaults:
  base_model: models/tiny
  validate: {min_side: 32}
  train: {rank: 4, learning_rate: 1e-3, batch_size: 2, images_seen: 12, resolution: 16}
  qa: {resolution: 16, steps: 1, seeds: 1, guidance: 1}
  optimize: {weights: [1.0]}
loras:
  mei: {dataset: datasets/mei}
"""


class Place:
    """A folder with a config, a base model and a dataset, and no git anywhere."""

    def __init__(self, root: Path, tiny_sd: Path) -> None:
        self.root = root
        self.config = root / ".lora-ci.yml"
        self.config.write_text(CONFIG)
        shutil.copytree(tiny_sd, root / "models" / "tiny")
        self.dataset = write_dataset(root / "pictures of mei")

    def run(self, **options) -> RunView:
        return run(self.config, self.dataset, **options)


@pytest.fixture
def place(tmp_path, tiny_sd, monkeypatch) -> Place:
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))
    return Place(tmp_path, tiny_sd)


def of(view: RunView, stage: Stage):
    return next(s for s in view.of("mei") if s.decision.stage is stage)


def adapter(view: RunView) -> str:
    return of(view, Stage.TRAIN).result.artifact("adapter.safetensors").sha256


def test_a_dataset_that_fails_is_told_and_blocks_training(place):
    (place.dataset / "01.txt").unlink()
    view = place.run()
    assert view.outcome is Outcome.FAILED
    validated = of(view, Stage.VALIDATE).result
    assert validated.outcome is Outcome.FAILED
    wrong = [(f.rule, f.file) for f in validated.findings if f.severity == "error"]
    assert wrong == [("caption.missing", "pictures of mei/01.png")]
    assert of(view, Stage.TRAIN).decision.action is Action.BLOCKED
    assert of(view, Stage.TRAIN).result is None
    assert (place.root / ".lora-ci" / "ledger.db").is_file()


def test_what_is_missing_fails_with_its_line(place):
    shutil.rmtree(place.root / "models")
    view = place.run()
    assert view.outcome is Outcome.FAILED
    (finding,) = view.plan.findings
    assert (finding.rule, finding.line) == ("inputs.base-model", 3)
    assert of(view, Stage.VALIDATE).result is None


def test_only_a_wrong_call_raises(place, tmp_path):
    with pytest.raises(UsageError, match="there is no config"):
        run(tmp_path / "nope.yml", place.dataset)
    with pytest.raises(UsageError, match="no LoRA `leo`"):
        place.run(lora="leo")
    place.config.write_text(CONFIG + "  leo: {dataset: datasets/leo}\n")
    with pytest.raises(UsageError, match="2 LoRAs; one must be chosen"):
        place.run()
    with pytest.raises(UsageError, match="cannot be the dataset"):
        run(place.config, place.root, lora="mei")


def test_state_goes_where_it_is_said(place, tmp_path):
    (place.dataset / "01.txt").unlink()
    place.run(state=tmp_path / "elsewhere")
    assert (tmp_path / "elsewhere" / "ledger.db").is_file()
    assert not (place.root / ".lora-ci").exists()


def test_a_file_that_changes_after_it_was_read_is_refused(place, tmp_path):
    source = read_source(place.config, place.dataset, lora=None, state=tmp_path / "s")
    _, gathered = plan_event(source.event(), source, NoRecords(), SystemClock())
    (place.dataset / "03.txt").write_text("mei, written while reading\n")
    with pytest.raises(InfrastructureError, match=r"03\.txt was changed while"):
        source.lay_out(gathered.facts["mei"].dataset, tmp_path / "laid-out")


def test_folders_and_commits_give_the_same_fingerprints(tmp_path, tiny_sd):
    place = Place(tmp_path, tiny_sd)
    repo = RepoBuilder(tmp_path / "git")
    repo.dvc_add("models/tiny", files_of(tiny_sd))
    repo.dvc_add("datasets/mei", files_of(place.dataset))
    repo.write(".lora-ci.yml", CONFIG)
    event = Event(kind=EventKind.MANUAL, repo="r", head=repo.commit())
    assert open_repository(repo.root).root == repo.root
    by_git, _ = plan_event(event, open_git_source(repo.root), NoRecords(), SystemClock())
    source = read_source(place.config, place.dataset, lora=None, state=tmp_path / "s")
    by_folder, _ = plan_event(source.event(), source, NoRecords(), SystemClock())
    ours, theirs = (plan.decisions[0].fingerprint.value for plan in (by_git, by_folder))
    assert ours == theirs


def test_importing_the_call_is_cheap():
    code = "import sys; from lora_ci.pipeline import run; print(len(sys.modules), *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"torch", "numpy", "PIL", "sqlalchemy", "msgspec", "yaml"}


@pytest.mark.slow
def test_trained_once_and_again_only_for_new_content(place):
    told: list[tuple[str, Stage, int, int]] = []
    first = place.run(progress=lambda lora, stage, done, total, note: told.append((stage, done)))
    assert of(first, Stage.TRAIN).result.outcome is Outcome.PASSED
    assert (Stage.TRAIN, 6) in told

    second = place.run()
    assert {of(second, s).decision.action for s in (Stage.VALIDATE, Stage.TRAIN)} == {Action.REUSE}
    assert second.event.head == first.event.head
    assert adapter(second) == adapter(first)

    (place.dataset / "00.txt").write_text("mei, another caption\n")
    third = place.run()
    assert of(third, Stage.VALIDATE).decision.why == "dataset: 1 caption edited, of 12 files"
    assert third.event.head != first.event.head
    assert adapter(third) != adapter(first)


@pytest.mark.slow
def test_the_same_adapter_as_from_a_commit(tmp_path, tiny_sd):
    place = Place(tmp_path, tiny_sd)
    repo = RepoBuilder(tmp_path / "git")
    shutil.copytree(tiny_sd, repo.root / "models" / "tiny")
    shutil.copytree(place.dataset, repo.root / "datasets" / "mei")
    repo.write(".lora-ci.yml", CONFIG)
    repo.commit()
    command = [sys.executable, "-m", "lora_ci", "train", "mei", "--repo", str(repo.root), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    trained = next(s for s in json.loads(done.stdout)["steps"] if s["decision"]["stage"] == "train")
    assert adapter(place.run()) == trained["result"]["artifacts"][0]["sha256"]
