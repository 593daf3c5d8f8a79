"""What every trainer backend does, our own and those of others (a stand-in speaks for them)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lora_ci.core.errors import InputError, Interrupted
from lora_ci.core.settings import TrainSettings
from lora_ci.core.step import Outcome
from lora_ci.diffusion.load import load_base
from lora_ci.formats.contract import check_adapter
from lora_ci.formats.header import read_safetensors
from lora_ci.formats.read import read_adapter
from lora_ci.training.backend import Foreign, Native, TrainerBackend, backend_of
from lora_ci.training.foreign.process import Patience
from tests.tiny_sd import write_dataset
from tests.trainers import install
from tests.training.place import Place, train_spec

pytestmark = pytest.mark.slow

STEPS = 6
SETTINGS = TrainSettings(
    rank=2, alpha=1.0, learning_rate=1e-3, batch_size=2, steps=STEPS, resolution=16, buckets=False,
    checkpoint_every=2,
)  # fmt: skip
PATIENCE = Patience(silence_s=60.0, grace_s=5.0, poll_s=0.02)

Made = tuple[TrainerBackend, TrainSettings]


def native(folder: Path) -> Made:
    return Native(), SETTINGS


def sd_scripts(folder: Path) -> Made:
    settings = replace(SETTINGS, backend="sd-scripts", backend_folder=str(folder))
    return Foreign(PATIENCE), settings


def ai_toolkit(folder: Path) -> Made:
    settings = replace(SETTINGS, backend="ai-toolkit", backend_folder=str(folder))
    return Foreign(PATIENCE), settings


def command(folder: Path) -> Made:
    told = (sys.executable, "any.py", "{config}")
    settings = replace(SETTINGS, backend="command", backend_folder=str(folder), command=told)
    return Foreign(PATIENCE), settings


BACKENDS = (native, sd_scripts, ai_toolkit, command)
# Those that go on where a stop ended them; what a `command` does is its own affair.
RESUME = (native, sd_scripts, ai_toolkit)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("pictures"))


@pytest.mark.parametrize("make", BACKENDS)
def test_a_training_gives_an_adapter_that_fits(
    make: Callable[[Path], Made], tmp_path: Path, tiny_sd: Path, dataset: Path
):
    backend, settings = make(install(tmp_path / "trainer"))
    assert type(backend_of(settings)) is type(backend)
    spec = train_spec(settings, {"dataset": dataset, "base_model": tiny_sd})
    place = Place(root=tmp_path, spec=spec)
    result = backend.train(spec, place)

    assert result.outcome is Outcome.PASSED
    files = {a.name: place.store.get(a.sha256) for a in result.artifacts}
    assert sorted(files) == ["adapter-kohya.safetensors", "adapter.safetensors"]
    shapes = load_base(tiny_sd).shapes()
    for path in files.values():
        adapter = read_adapter(path)
        assert not [f for f in check_adapter(adapter, shapes) if f.severity == "error"]
        assert adapter.ranks() == (2,)
        _, metadata = read_safetensors(path)
        assert metadata["modelspec.title"] == "mei"
        assert metadata["modelspec.architecture"] == "stable-diffusion-v1/lora"
        assert str(tmp_path) not in str(metadata)

    assert result.metrics["steps"] == STEPS
    assert result.metrics["images_seen"] == 2 * STEPS
    assert result.metrics["images"] == 6
    assert result.metrics["loss_last"] > 0
    steps = [step for step, _ in result.details["loss"]]
    assert steps == sorted(set(steps))
    assert steps[-1] == STEPS
    trainer = dict(result.details["backend"])
    assert trainer.pop("name") == settings.backend
    assert trainer
    assert all(isinstance(version, str) and version for version in trainer.values())
    trained = [done for done, total, _ in place.told if total == STEPS]
    assert trained[-1] == STEPS


@pytest.mark.parametrize("make", BACKENDS)
def test_a_stop_ends_it_and_the_next_attempt_comes_to_the_end(
    make: Callable[[Path], Made], tmp_path: Path, tiny_sd: Path, dataset: Path
):
    folder = install(tmp_path / "trainer", slow_s=0.15)
    backend, settings = make(folder)
    spec = train_spec(settings, {"dataset": dataset, "base_model": tiny_sd})
    place = Place(root=tmp_path, spec=spec)
    place.stop = lambda: any(total == STEPS and done >= 3 for done, total, _ in place.told)
    with pytest.raises(Interrupted):
        backend.train(spec, place)

    place = Place(root=tmp_path, spec=spec)
    install(folder)
    result = backend.train(spec, place)
    assert result.outcome is Outcome.PASSED
    steps = [done for done, total, note in place.told if total == STEPS and note != "starting"]
    assert steps[-1] == STEPS
    if make in RESUME:
        assert steps[0] > 1


@pytest.mark.parametrize("make", BACKENDS)
def test_a_dataset_without_pictures_is_the_users(
    make: Callable[[Path], Made], tmp_path: Path, tiny_sd: Path
):
    backend, settings = make(install(tmp_path / "trainer"))
    (tmp_path / "empty").mkdir()
    spec = train_spec(settings, {"dataset": tmp_path / "empty", "base_model": tiny_sd})
    with pytest.raises(InputError, match="no image"):
        backend.train(spec, Place(root=tmp_path, spec=spec))
