"""Trackers show curves; what they cannot do is told, and training is none the worse."""

from dataclasses import replace

import pytest
import torch

from lora_ci.core.settings import TrainSettings, settings_json
from lora_ci.training import tracking
from lora_ci.training.team import Team, join_team
from lora_ci.training.tracking import trackers_of

SETTINGS = TrainSettings(trackers=("tensorboard",))


def start(folder, settings=SETTINGS, team=None):
    return trackers_of(settings, "mei", folder, settings_json(settings), team or join_team())


def shown(folder) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "mei"))
    events.Reload()
    return {
        tag: [(event.step, round(event.value, 4)) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


@pytest.mark.slow
def test_tensorboard_is_there_by_default_and_goes_on_after_a_break(tmp_path):
    for steps in ((10, 20), (30,)):
        trackers = start(tmp_path)
        for step in steps:
            trackers.log(step, {"loss": 1 / step})
        trackers.log(steps[-1], {"validation_loss": 0.5})
        trackers.finish()
        assert trackers.findings == []
    assert TrainSettings().trackers == ("tensorboard",)
    assert shown(tmp_path) == {
        "loss": [(10, 0.1), (20, 0.05), (30, 0.0333)],
        "validation_loss": [(20, 0.5), (30, 0.5)],
    }


def test_one_that_fails_is_told_once_and_left_out(tmp_path, monkeypatch):
    class Failing:
        logged = 0

        def start(self):
            pass

        def log(self, values, step):
            Failing.logged += 1
            raise ConnectionError("no route to host\nmore of it")

        def store_init_configuration(self, values):
            pass

    monkeypatch.setitem(tracking.STARTERS, "wandb", lambda run, folder: Failing())
    trackers = start(tmp_path, replace(SETTINGS, trackers=("wandb",)))
    trackers.log(10, {"loss": 1.0})
    trackers.log(20, {"loss": 1.0})
    trackers.finish()
    (finding,) = trackers.findings
    assert (finding.rule, finding.severity) == ("train.tracker", "warning")
    assert finding.message == "tracker wandb: no route to host; its curves are not whole"
    assert Failing.logged == 1


def test_one_that_is_not_installed_is_a_warning(tmp_path, monkeypatch):
    def missing(run, folder):
        raise ModuleNotFoundError("No module named 'mlflow'")

    monkeypatch.setitem(tracking.STARTERS, "mlflow", missing)
    trackers = start(tmp_path, replace(SETTINGS, trackers=("mlflow",)))
    trackers.log(10, {"loss": 1.0})
    assert "No module named 'mlflow'" in trackers.findings[0].message
    assert "mlflow is installed" in trackers.findings[0].hint


def test_of_a_team_only_the_leader_has_trackers(tmp_path):
    second = Team(device=torch.device("cpu"), rank=1, size=2)
    trackers = start(tmp_path, team=second)
    trackers.log(10, {"loss": 1.0})
    assert trackers.working == {}


def test_none_starts_before_there_is_something_to_show(tmp_path, monkeypatch):
    """What they import, and servers they wait for, would hold up the first step."""

    told = []

    class Shown:
        def start(self):
            told.append("started")

        def log(self, values, step):
            told.append(step)

        def store_init_configuration(self, values):
            told.append(values)

        def finish(self):
            told.append("finished")

    monkeypatch.setitem(tracking.STARTERS, "wandb", lambda run, folder: Shown())
    settings = replace(SETTINGS, trackers=("wandb",))
    trackers = start(tmp_path, settings)
    assert told == []
    trackers.log(10, {"loss": 1.0})
    trackers.log(20, {"loss": 1.0})
    trackers.finish()
    assert told == ["started", settings_json(settings), 10, 20, "finished"]


@pytest.mark.slow
def test_mlflow_writes_beside_the_training_where_no_server_is_named(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    logs = tmp_path / "logs"
    trackers = start(logs, replace(SETTINGS, trackers=("mlflow",)))
    trackers.log(10, {"loss": 0.5})
    trackers.finish()
    assert trackers.findings == []
    assert {path.name for path in tmp_path.iterdir()} == {"logs"}
    client = mlflow.MlflowClient(f"sqlite:///{logs / 'mlflow.db'}")
    (experiment,) = [e for e in client.search_experiments() if e.name == "lora-ci"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.metrics == {"loss": 0.5}
    mlflow.set_tracking_uri(None)


@pytest.mark.slow
def test_wandb_without_network_and_without_account_fails_soon_and_softly(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    trackers = start(tmp_path / "logs", replace(SETTINGS, trackers=("wandb",)))
    trackers.log(10, {"loss": 0.5})
    trackers.finish()
    assert trackers.findings == []
    assert list((tmp_path / "logs").rglob("*.wandb"))
