"""The step as the reader of its result sees it: what is told, kept and gone on from."""

from dataclasses import replace
from importlib.metadata import version

import pytest

from lora_ci.core.settings import TrainSettings, settings_json
from lora_ci.core.step import Outcome, Stage, StepInput, StepResult, StepSpec
from lora_ci.formats.header import read_safetensors
from lora_ci.steps.folder import StepFolder
from lora_ci.steps.main import exec_step
from lora_ci.store.local import LocalStore
from lora_ci.training import native
from lora_ci.training.backward import Learner
from tests.tiny_sd import write_dataset

pytestmark = pytest.mark.slow

SETTINGS = TrainSettings(
    rank=4, alpha=2.0, learning_rate=3e-3, batch_size=2, epochs=3, resolution=16, seed=3,
    schedule="constant", validation_share=0.3, validate_every=5,
)  # fmt: skip


@pytest.fixture
def world(tmp_path, tiny_sd):
    write_dataset(tmp_path / "dataset", images=7)
    write_dataset(tmp_path / "others", images=3, trigger="a person")

    def run(name: str, settings: TrainSettings, lora: str = "mei", **more: object) -> StepResult:
        inputs = {
            "dataset": StepInput(content_id="d1", path=str(tmp_path / "dataset")),
            "base_model": StepInput(content_id="b1", path=str(tiny_sd)),
        }
        if settings.regularization:
            path = str(tmp_path / settings.regularization)
            inputs["regularization"] = StepInput(content_id="r1", path=path)
        spec = StepSpec(
            stage=Stage.TRAIN,
            lora=lora,
            fingerprint=name.ljust(64, "0"),
            inputs=inputs,
            params={"settings": settings_json(settings), "trigger": "mei", **more},
        )
        step = StepFolder(tmp_path / "steps" / name)
        step.write_spec(spec)
        return exec_step(step, LocalStore(tmp_path / "objects"), tmp_path / "cache")

    run.store, run.cache = LocalStore(tmp_path / "objects"), tmp_path / "cache"
    return run


def test_a_result_tells_all_of_a_training(world):
    settings = replace(SETTINGS, sample_every=5, sample_prompts=("{trigger}", "a dog"))
    result = world("told", settings)
    assert result.outcome is Outcome.PASSED, result.findings
    # 5 pictures learn, 2 are held out; 3 epochs of 5 in batches of 2 are 8 steps.
    told = {name: result.metrics[name] for name in ("steps", "images", "epoch_images")}
    assert told == {"steps": 8, "images": 5, "epoch_images": 5}
    assert result.metrics["images_seen"] == 16
    assert result.metrics["resolution"] == 16
    assert 50 < result.metrics["peak_memory_mb"] < 50_000
    assert [step for step, _ in result.details["validation_loss"]] == [5, 8]
    last = result.details["validation_loss"][-1][1]
    assert result.metrics["validation_loss"] == last
    assert result.metrics["validation_loss_best"] <= last
    assert result.details["learning_rate"] == [[8, 3e-3]]
    assert result.details["memory"] == {"rows": 2, "checkpointing": False}
    assert (result.details["device"], result.details["precision"]) == ("cpu", "float32")
    names = [a.name for a in result.artifacts if a.media_type == "image/png"]
    assert names == [f"sample-{step:06d}-{n}.png" for step in (0, 5, 8) for n in (0, 1)]
    path = world.store.get(result.artifact("adapter.safetensors").sha256)
    _, metadata = read_safetensors(path)
    wanted = {"ss_steps": "8", "ss_num_epochs": "4", "ss_seed": "3", "ss_learning_rate": "0.003"}
    assert wanted.items() <= metadata.items()
    assert metadata["modelspec.architecture"] == "stable-diffusion-v1/lora"


def test_a_longer_budget_costs_only_the_rest(world):
    first = world("ten", replace(SETTINGS, epochs=2), prefix="p" * 64)
    longer = world("twenty", replace(SETTINGS, epochs=4), prefix="p" * 64)
    at_once = world("at-once", replace(SETTINGS, epochs=4))
    assert first.metrics["steps"] == 5
    wanted = at_once.artifact("adapter.safetensors").sha256
    assert longer.artifact("adapter.safetensors").sha256 == wanted
    same = {name: value for name, value in at_once.metrics.items() if "loss" in name}
    assert same.items() <= longer.metrics.items()


def test_ends_of_other_versions_are_left_alone(world, monkeypatch):
    """Their states may have other names, and the bytes that follow be others."""
    settings = replace(SETTINGS, optimizer="prodigy", validation_share=0.0)
    world("ten", replace(settings, epochs=1), prefix="p1")
    for package in ("torch", "prodigyopt"):
        older = {package: "0.1"}
        monkeypatch.setattr(native, "version", lambda name, of=older: of.get(name, version(name)))
        world(package, replace(settings, epochs=1), prefix="p1")
    assert len(list((world.cache / "states").iterdir())) == 3


def test_what_moves_no_fingerprint_moves_no_byte(world):
    """The name of the LoRA, and settings that its optimizer puts aside."""
    settings = replace(SETTINGS, optimizer="schedule-free-adamw", epochs=None, steps=2)
    one = world("one", settings)
    others = (
        world("other", replace(settings, schedule="linear", restarts=3), lora="mei-2"),
        world("third", replace(settings, validate_every=1, sample_every=1, checkpoint_every=1)),
    )
    for name in ("adapter.safetensors", "adapter-kohya.safetensors"):
        assert {other.artifact(name).sha256 for other in others} == {one.artifact(name).sha256}


def test_an_end_that_an_attempt_left_before_it_was_killed_is_no_measure_of_speed(world):
    first = world("first", SETTINGS, prefix="p1")
    again = world("again", SETTINGS, prefix="p1")
    assert again.outcome is Outcome.PASSED
    assert again.artifact("adapter.safetensors") == first.artifact("adapter.safetensors")
    assert "step_s" in first.metrics
    assert "step_s" not in again.metrics


def test_an_adapter_that_learned_nothing_does_not_pass(world, monkeypatch):
    before = Learner.row_losses
    monkeypatch.setattr(Learner, "row_losses", lambda *args, **more: 0 * before(*args, **more))
    result = world("idle", replace(SETTINGS, epochs=None, steps=2, validation_share=0.0))
    assert result.outcome is Outcome.FAILED
    assert [f.rule for f in result.findings] == ["adapter.no-effect"]


def test_regularization_pictures_are_half_of_what_is_seen_and_count_as_set(world):
    plain = world("plain", replace(SETTINGS, epochs=None, steps=6))
    settings = replace(SETTINGS, epochs=None, steps=6, regularization="others")
    regular = world("regular", settings)
    without = world("no-weight", replace(settings, prior_weight=0.0))
    assert regular.metrics["epoch_images"] == 2 * plain.metrics["epoch_images"]
    assert regular.metrics["images"] == 5 + 3
    adapters = {r.artifact("adapter.safetensors").sha256 for r in (plain, regular, without)}
    assert len(adapters) == 3


def test_a_lost_gpu_is_the_machine_s_fault_and_is_tried_again(world, monkeypatch):
    def lost(*_: object) -> None:
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(native, "train", lost)
    result = world("lost", SETTINGS)
    assert result.outcome is Outcome.ERROR
    assert result.findings[0].rule == "train.device-lost"
