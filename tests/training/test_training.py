"""Training, killed and not killed, gives the same adapter; the adapter does what it should."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lora_ci.core.settings import TrainSettings, settings_json
from lora_ci.core.step import Outcome, Stage, StepInput, StepResult, StepSpec
from lora_ci.diffusion.attach import attach, detach
from lora_ci.diffusion.generate import DiffusersGenerator
from lora_ci.diffusion.load import load_base
from lora_ci.diffusion.request import PictureRequest
from lora_ci.formats.adapter import Adapter
from lora_ci.formats.read import read_adapter
from lora_ci.formats.write import Format, write_adapter
from lora_ci.steps.folder import StepFolder
from lora_ci.steps.main import exec_step
from lora_ci.store.local import LocalStore
from lora_ci.training.data import read_samples
from tests.tiny_sd import write_dataset

pytestmark = pytest.mark.slow

SETTINGS = TrainSettings(
    rank=4, alpha=2.0, learning_rate=3e-3, batch_size=2, images_seen=80, resolution=16,
    flip=True, checkpoint_every=10, seed=3,
)  # fmt: skip


def make_spec(
    dataset: Path, base: Path, settings: TrainSettings = SETTINGS, **params: object
) -> StepSpec:
    return StepSpec(
        stage=Stage.TRAIN,
        lora="mei",
        fingerprint="f" * 64,
        inputs={
            "dataset": StepInput(content_id="d1", path=str(dataset)),
            "base_model": StepInput(content_id="b1", path=str(base)),
        },
        params={"settings": settings_json(settings), "trigger": "mei", **params},
    )


def run_step(folder: Path, spec: StepSpec, root: Path) -> StepResult:
    step = StepFolder(folder)
    step.write_spec(spec)
    return exec_step(step, LocalStore(root / "objects"), root / "cache")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, tiny_sd):
    root = tmp_path_factory.mktemp("train")
    dataset = write_dataset(root / "dataset")
    spec = make_spec(dataset, tiny_sd)
    return root, spec, run_step(root / "step", spec, root)


@pytest.fixture(scope="module")
def trained(undisturbed) -> tuple[Path, Adapter]:
    root, _, result = undisturbed
    artifact = result.artifact("adapter.safetensors")
    path = LocalStore(root / "objects").get(artifact.sha256)
    return path, read_adapter(path)


def test_a_training_passes_and_the_loss_falls(undisturbed, tiny_sd, tmp_path):
    root, spec, result = undisturbed
    assert result.outcome is Outcome.PASSED, result.details.get("traceback")
    assert result.metrics["steps"] == 40
    # Checkpoints are three times the adapter; of a training that passed, logs are enough.
    assert [path.name for path in (root / "step" / "work").iterdir()] == ["logs"]
    assert 0 < result.metrics["step_s"] < 10
    assert [step for step, _ in result.details["loss"]] == [10, 20, 30, 40]
    # The same draws with a rate that learns nothing: only learning can make the difference.
    idle = replace(SETTINGS, learning_rate=1e-9)
    dataset = Path(spec.inputs["dataset"].path)
    untaught = run_step(tmp_path / "idle", make_spec(dataset, tiny_sd, idle), root)
    assert result.metrics["loss_last"] < untaught.metrics["loss_last"]
    # The second one found all pictures and captions encoded.
    encoded = [f"encoded_{what}" for what in ("pictures", "captions")]
    assert [result.metrics[name] for name in encoded] == [12, 7]
    assert [untaught.metrics[name] for name in encoded] == [0, 0]


def test_killed_at_random_moments_gives_the_same_bytes(undisturbed, tmp_path):
    root, spec, result = undisturbed
    wanted = result.artifact("adapter.safetensors").sha256
    folder = StepFolder(tmp_path / "step")
    folder.write_spec(spec)
    command = [sys.executable, "-m", "lora_ci", "exec-step", str(folder.path)]
    command += ["--store", str(tmp_path / "objects"), "--cache", str(root / "cache")]
    chance = random.Random(7)
    kills = 0
    # tests/training/test_resume.py kills at exact steps; here whole processes of the command die.
    for _ in range(2):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        # Wait for the loop, then let it go on for a random while.
        seen = folder.read_progress()
        deadline = time.monotonic() + 60
        while folder.read_progress() == seen and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.3))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    assert kills > 0
    done = run_step(folder.path, spec, tmp_path)
    assert done.artifact("adapter.safetensors").sha256 == wanted
    assert done.details["loss"] == result.details["loss"]


def test_a_term_signal_keeps_a_checkpoint_and_a_second_call_goes_on(undisturbed, tmp_path):
    root, spec, result = undisturbed
    folder = StepFolder(tmp_path / "step")
    folder.write_spec(spec)
    command = [sys.executable, "-m", "lora_ci", "exec-step", str(folder.path)]
    command += ["--store", str(tmp_path / "objects"), "--cache", str(root / "cache")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    # Pictures are encoded before the first step, and tell their progress too.
    while not ((told := folder.read_progress()) and told.note.startswith("loss")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.terminate()
    assert process.wait(timeout=60) == 130
    assert folder.read_result(spec.fingerprint).outcome is Outcome.INTERRUPTED
    assert list((folder.workdir / "checkpoints").iterdir())
    done = run_step(folder.path, spec, tmp_path)
    wanted = result.artifact("adapter.safetensors").sha256
    assert done.artifact("adapter.safetensors").sha256 == wanted


def test_repeats_change_what_is_drawn_and_only_they(undisturbed, tiny_sd, tmp_path):
    root, spec, _ = undisturbed
    given = Path(spec.inputs["dataset"].path)
    short = replace(SETTINGS, images_seen=16)

    def trained_on(dataset: Path, name: str, **params: object) -> str:
        made = run_step(tmp_path / name, make_spec(dataset, tiny_sd, short, **params), root)
        assert made.outcome is Outcome.PASSED, made.findings
        return made.artifact("adapter.safetensors").sha256

    plain = trained_on(given, "plain")
    assert trained_on(given, "none", repeats={}) == plain
    # Two sources: the same pictures in the same order, so the same adapter.
    both = tmp_path / "both"
    pictures = sorted(given.glob("*.png"))
    for number, picture in enumerate(pictures):
        source = both / "datasets" / ("a" if number < len(pictures) // 2 else "b")
        source.mkdir(parents=True, exist_ok=True)
        for file in given.glob(f"{picture.stem}.*"):
            shutil.copy(file, source)
    assert trained_on(both, "sources") == plain
    assert trained_on(both, "repeated", repeats={"datasets/b": 3}) != plain
    counts = [sample.repeats for sample in read_samples(both, "mei", {"datasets/b": 3})]
    half = len(pictures) // 2
    assert counts == [1] * half + [3] * (len(pictures) - half)


def test_captions_of_a_list_train_as_those_beside_the_images(undisturbed, tiny_sd, tmp_path):
    root, spec, _ = undisturbed
    given, listed = Path(spec.inputs["dataset"].path), tmp_path / "listed"
    listed.mkdir()
    rows = []
    for sample in read_samples(given, "mei"):
        shutil.copy(sample.path, listed)
        rows.append(json.dumps({"file_name": sample.path.name, "text": sample.caption}))
    (listed / "metadata.jsonl").write_text("\n".join(rows))
    wanted = [(s.path.name, s.caption) for s in read_samples(given, "mei")]
    assert [(s.path.name, s.caption) for s in read_samples(listed, "mei")] == wanted
    (listed / "metadata.jsonl").write_text("\n".join([*rows, "{"]))
    result = run_step(tmp_path / "step", make_spec(listed, tiny_sd), root)
    assert result.outcome is Outcome.FAILED
    fault = result.findings[0]
    assert (fault.file, fault.line) == ("metadata.jsonl", len(rows) + 1)


def test_a_learning_rate_far_too_high_fails_with_the_cause(undisturbed, tiny_sd, tmp_path):
    root, spec, _ = undisturbed
    settings = TrainSettings(
        learning_rate=10.0, schedule="constant", images_seen=400, batch_size=2, resolution=16,
        max_grad_norm=1e9, rank=64, alpha=64 * 1e9,
    )  # fmt: skip
    dataset = Path(spec.inputs["dataset"].path)
    result = run_step(tmp_path / "step", make_spec(dataset, tiny_sd, settings), root)
    assert result.outcome is Outcome.FAILED
    assert result.findings[0].rule == "train.diverged"
    assert "learning rate" in result.findings[0].hint


def test_a_folder_that_is_no_base_model_fails_with_its_name(undisturbed, tmp_path):
    root, spec, _ = undisturbed
    dataset = Path(spec.inputs["dataset"].path)
    result = run_step(tmp_path / "step", make_spec(dataset, dataset), root)
    assert result.outcome is Outcome.FAILED
    assert "no folder unet" in result.findings[0].message


def test_diffusers_loads_the_adapter_and_makes_our_pictures(trained, tiny_sd, tmp_path):
    from diffusers import StableDiffusionPipeline

    stored, adapter = trained
    path = tmp_path / "adapter.safetensors"
    path.write_bytes(stored.read_bytes())
    model = load_base(tiny_sd)
    attached = attach(model, adapter)
    request = PictureRequest(
        prompt="mei", seed=5, steps=4, guidance=3.0, guidance_rescale=0.7, width=16, height=16
    )
    ours = DiffusersGenerator(model, attached).generate([request])[0]
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_sd, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(path.parent, weight_name=path.name)
    theirs = pipeline(
        "mei", num_inference_steps=4, guidance_scale=3.0, guidance_rescale=0.7, height=16,
        width=16, output_type="np", generator=torch.Generator().manual_seed(5),
    ).images[0]  # fmt: skip
    assert np.abs(ours / 255 - theirs).max() < 0.01
    detach(attached)
    plain = DiffusersGenerator(model).generate([request])[0]
    assert np.abs(plain.astype(int) - ours).mean() > 0.5


def test_a_picture_is_the_same_alone_and_in_a_batch(trained, tiny_sd):
    model = load_base(tiny_sd)
    generator = DiffusersGenerator(model, attach(model, trained[1]))
    requests = [
        PictureRequest(prompt=f"mei {i}", seed=i, steps=3, width=16, height=16, weight=w)
        for i in range(3)
        for w in (0.0, 1.0)
    ]
    together = generator.generate(requests)
    for request, picture in zip(requests, together, strict=True):
        alone = generator.generate([request])[0]
        assert np.abs(alone.astype(int) - picture).max() <= 1


def test_the_kohya_file_has_the_same_effect(trained, tmp_path):
    _, adapter = trained
    write_adapter(adapter, tmp_path / "kohya.safetensors", Format.KOHYA)
    back = read_adapter(tmp_path / "kohya.safetensors")
    for name, layer in adapter.layers.items():
        assert torch.allclose(layer.delta(), back.layers[name].delta(), atol=1e-6)


def test_equal_content_gives_equal_bytes(trained, tmp_path):
    path, adapter = trained
    shuffled = Adapter(layers=dict(reversed(adapter.layers.items())), metadata=adapter.metadata)
    write_adapter(shuffled, tmp_path / "again.safetensors", Format.DIFFUSERS)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
