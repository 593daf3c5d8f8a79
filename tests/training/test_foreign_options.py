"""Every option that we write is one that the trainers publish, with a value that they take."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.trainer_utils import SchedulerType

from lora_ci.config.backends import CANNOT
from lora_ci.core.errors import InputError
from lora_ci.core.settings import TrainSettings
from lora_ci.diffusion.families import FLUX, SD1, SD2, SDXL, Family
from lora_ci.training.foreign import ai_toolkit, command, sd_scripts
from lora_ci.training.foreign.install import Install, precision
from lora_ci.training.foreign.job import Base, Job, Pictures, read_job
from tests.tiny_sd import write_dataset
from tests.training.place import Place, train_spec

pytestmark = pytest.mark.slow

PUBLISHED = Path(__file__).parent / "published"
SD = json.loads((PUBLISHED / "sd-scripts.json").read_text())
AI = json.loads((PUBLISHED / "ai-toolkit.json").read_text())
CPU = Install(folder=Path("/trainer"), python=Path("/python"), gpu=False, bf16=False)
TYPES = {"str": str, "int": int, "float": float, "bool": bool, "Path": str, "flag": bool}


def make_job(root: Path, family: Family, trained: TrainSettings, gpus: int = 0) -> Job:
    root.mkdir(parents=True, exist_ok=True)
    (root / "output").mkdir(exist_ok=True)
    base = Base(
        folder=root / "base", family=family, v_prediction=family is SD2, zero_terminal_snr=False
    )
    pictures = (
        Pictures(folder=root / "pictures" / "1", images=4),
        Pictures(folder=root / "pictures" / "10", images=2, repeats=10),
        Pictures(folder=root / "pictures" / "reg", images=3, regularization=True),
    )
    return Job(
        settings=trained, title="mei", trigger="mei", base=base, pictures=pictures, images=24,
        gpus=gpus, workdir=root, output=root / "output",
    )  # fmt: skip


# Settings that both can follow; each is given what only it can in its own test.
BOTH = {
    "rank": st.integers(1, 128),
    "alpha": st.floats(0.5, 128),
    "modules": st.sampled_from([("attention", "feed-forward"), ("attention", "convolution")]),
    "text_encoder": st.booleans(),
    "text_encoder_learning_rate": st.none() | st.floats(1e-6, 1),
    "learning_rate": st.floats(1e-7, 1),
    "optimizer": st.sampled_from(["adamw", "adamw8bit", "prodigy", "adafactor"]),
    "weight_decay": st.floats(0, 1),
    "schedule": st.sampled_from(["constant", "cosine", "linear"]),
    "batch_size": st.sampled_from([4, 8]),
    "gradient_accumulation": st.sampled_from([1, 2]),
    "gradient_checkpointing": st.booleans(),
    "precision": st.sampled_from(["auto", "fp32", "bf16", "fp16"]),
    "compile": st.booleans(),
    "steps": st.integers(1, 5000),
    "resolution": st.sampled_from([512, 768, 1024]),
    "buckets": st.booleans(),
    "crop": st.sampled_from(["center", "random"]),
    "flip": st.booleans(),
    "caption_dropout": st.floats(0, 1),
    "prior_weight": st.floats(0, 10),
    "min_snr_gamma": st.none() | st.floats(1, 20),
    "noise_offset": st.floats(0, 1),
    "max_grad_norm": st.floats(0.1, 10),
    "seed": st.integers(0, 2**32 - 1),
    "checkpoint_every": st.integers(1, 500),
}
BY_SD = st.builds(
    TrainSettings,
    **BOTH
    | {
        "optimizer": st.sampled_from(list(sd_scripts.OPTIMIZERS)),
        "schedule": st.sampled_from(["constant", "cosine", "cosine-with-restarts", "linear"]),
        "restarts": st.integers(1, 9),
        "warmup_steps": st.integers(0, 100),
        "rank_stabilized": st.booleans(),
        "shuffle_captions": st.booleans(),
        "keep_tags": st.integers(0, 3),
        "validation_share": st.sampled_from([0.0, 0.25]),
    },
)
BY_AI = st.builds(TrainSettings, **BOTH | {"ema_decay": st.none() | st.floats(0.5, 0.999)})


def check_types(found: dict[str, Any], published: dict[str, str]) -> None:
    """Names and types; what is published without a type may be any."""
    for name, value in found.items():
        assert name in published, name
        kind = published[name]
        for text, type_ in TYPES.items():
            if kind == text:
                assert isinstance(value, type_ if type_ is not float else int | float), name
                assert type_ is bool or not isinstance(value, bool), name
        if kind.startswith("Any(float"):
            assert isinstance(value, int | float)


@settings(max_examples=60)
@given(trained=BY_SD, family=st.sampled_from([SD1, SD2, SDXL]), gpus=st.sampled_from([0, 1, 2]))
def test_what_is_written_for_sd_scripts_is_published(tmp_path_factory, trained, family, gpus):
    job = make_job(tmp_path_factory.mktemp("job"), family, trained, gpus)
    launch = sd_scripts.launch(job, CPU)
    script, option, path = launch.command[-3:]
    assert option == "--config_file"
    published = SD["scripts"][script]
    options = tomllib.loads(Path(path).read_text())
    for name, value in options.items():
        assert name in published, name
        fact = published[name]
        values = value if "nargs" in fact else [value]
        for one in values:
            kind = TYPES.get(fact["type"], (int, float))
            assert isinstance(one, (int, float) if kind is float else kind), (name, one)
            if "choices" in fact:
                assert one in fact["choices"], name
    assert options["optimizer_type"] in SD["optimizers"]
    assert options.get("lr_scheduler", "constant") in [kind.value for kind in SchedulerType]
    for argument in options.get("network_args", []):
        assert argument.partition("=")[0] in SD["network_args"]

    data = tomllib.loads(Path(options["dataset_config"]).read_text())
    (dataset,) = data["datasets"]
    check_types({k: v for k, v in dataset.items() if k != "subsets"}, SD["sections"]["dataset"])
    for subset in dataset["subsets"]:
        check_types(subset, SD["sections"]["subset"])
    batch = dataset["batch_size"] * options["gradient_accumulation_steps"] * max(1, gpus)
    assert batch == trained.batch_size
    if dataset["enable_bucket"]:
        least, most = dataset["min_bucket_reso"], dataset["max_bucket_reso"]
        assert least <= dataset["resolution"] <= most
    assert ("accelerate.commands.launch" in launch.command) == (gpus > 1)


@settings(max_examples=60)
@given(trained=BY_AI, family=st.sampled_from([SD1, SD2, SDXL, FLUX]))
def test_what_is_written_for_ai_toolkit_is_published(tmp_path_factory, trained, family):
    if family is FLUX:
        trained = replace(trained, alpha=float(trained.rank))
    job = make_job(tmp_path_factory.mktemp("job"), family, trained)
    launch = ai_toolkit.launch(job, CPU)
    document = json.loads(Path(launch.command[-1]).read_text())
    assert document["job"] == "extension"
    (process,) = document["config"]["process"]
    assert process["type"] in AI["types"]
    assert set(process) - {"type"} <= set(AI["process"])
    sections = AI["sections"]
    for section in ("network", "save", "train", "model"):
        check_types(process[section], sections[section])
    for dataset in process["datasets"]:
        check_types(dataset, sections["datasets"])
    check_types(process["train"].get("ema_config", {}), sections["ema_config"])
    assert set(process["network"]["network_kwargs"]) <= set(AI["network_kwargs"])
    assert process["network"]["type"] in AI["networks"]
    assert process["model"]["arch"] in AI["archs"]
    assert process["train"]["optimizer"] in AI["optimizers"]
    assert process["train"]["lr_scheduler"] in AI["schedulers"]
    batch = process["train"]["batch_size"] * process["train"]["gradient_accumulation"]
    assert batch == trained.batch_size


def sd_options(tmp_path: Path, trained: TrainSettings, gpus: int = 0) -> dict[str, Any]:
    return sd_scripts.training_options(make_job(tmp_path, SD1, trained, gpus), CPU)


def ai_process(tmp_path: Path, trained: TrainSettings, family: Family = SD1) -> dict[str, Any]:
    job = make_job(tmp_path, family, trained)
    path = ai_toolkit.launch(job, CPU).command[-1]
    process: dict[str, Any] = json.loads(Path(path).read_text())["config"]["process"][0]
    return process


def test_rank_stabilized_is_another_alpha(tmp_path):
    trained = TrainSettings(rank=16, alpha=4.0, rank_stabilized=True)
    assert sd_options(tmp_path, trained)["network_alpha"] == 16.0
    assert ai_process(tmp_path, trained)["network"]["linear_alpha"] == 16.0


def test_prodigy_finds_its_own_rate(tmp_path):
    trained = TrainSettings(optimizer="prodigy", text_encoder=True, text_encoder_learning_rate=1e-5)
    options = sd_options(tmp_path, trained)
    assert (options["learning_rate"], options["unet_lr"]) == (1.0, 1.0)
    assert options["text_encoder_lr"] == (1.0,)
    assert ai_process(tmp_path, trained)["train"]["lr"] == 1.0


def test_a_warm_up_is_counted_in_our_steps(tmp_path):
    trained = TrainSettings(schedule="constant", warmup_steps=10, batch_size=4)
    options = sd_options(tmp_path, trained, gpus=2)
    assert options["lr_scheduler"] == "constant_with_warmup"
    assert options["lr_warmup_steps"] == 20, "accelerate steps the schedule once a process"
    free = sd_options(tmp_path, replace(trained, optimizer="schedule-free-adamw"))
    assert "lr_scheduler" not in free
    assert "warmup_steps=10" in free["optimizer_args"]


def test_the_budget_counts_repeats_and_as_many_regularization_images(tmp_path):
    trained = TrainSettings(epochs=2, batch_size=4)
    assert sd_options(tmp_path, trained)["max_train_steps"] == 24
    assert ai_process(tmp_path, trained)["train"]["steps"] == 24


def test_ai_toolkit_teaches_the_modules_that_are_named(tmp_path):
    named = lambda **given: ai_process(tmp_path, TrainSettings(**given))["network"][  # noqa: E731
        "network_kwargs"
    ]["only_if_contains"]
    assert named() == ["to_q", "to_k", "to_v", "to_out"]
    assert "ff.net" in named(modules=("feed-forward",))
    assert named(modules=("attn2.to_k",)) == ["attn2.to_k"]
    assert "q_proj" in named(text_encoder=True)


def test_further_arguments_reach_the_trainer_under_their_own_names(tmp_path):
    trained = TrainSettings(backend_arguments={"clip_skip": 2, "ip_noise_gamma": 0.1})
    path = sd_scripts.launch(make_job(tmp_path, SD1, trained), CPU).command[-1]
    options = tomllib.loads(Path(path).read_text())
    assert (options["clip_skip"], options["ip_noise_gamma"]) == (2, 0.1)
    further = {"model.quantize": True, "train.loss_type": "mae", "datasets.flip_y": True}
    process = ai_process(tmp_path, TrainSettings(backend_arguments=further))
    assert process["model"]["quantize"] is True
    assert process["train"]["loss_type"] == "mae"
    assert all(dataset["flip_y"] for dataset in process["datasets"])


def test_no_variable_of_the_environment_is_replaced_in_a_config(tmp_path):
    trained = TrainSettings(backend_arguments={"train.loss_type": "${HOME} $HOME"})
    job = make_job(tmp_path, SD1, trained)
    text = Path(ai_toolkit.launch(job, CPU).command[-1]).read_text()
    assert "${" not in text
    assert ai_process(tmp_path, trained)["train"]["loss_type"] == "${HOME} $HOME"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_toml_texts_are_read_as_they_were_written(text: str):
    written = sd_scripts.render_toml({"a": text, "b": ({"c": (text, "d")}, {"c": ()})})
    assert tomllib.loads(written) == {"a": text, "b": [{"c": [text, "d"]}, {"c": []}]}


@pytest.mark.parametrize(
    ("family", "trained", "gpus", "words"),
    [
        (FLUX, TrainSettings(), 0, "single files"),
        (SD1, TrainSettings(bucket_step=32), 0, "steps of 64"),
        (SD1, TrainSettings(batch_size=4), 3, "cannot be split"),
        (SD1, TrainSettings(batch_size=4, gradient_accumulation=3), 0, "multiple of 3"),
    ],
)
def test_what_sd_scripts_cannot_is_told(tmp_path, family, trained, gpus, words):
    with pytest.raises(InputError) as told:
        sd_scripts.launch(make_job(tmp_path, family, trained, gpus), CPU)
    finding = told.value.findings[0]
    assert words in f"{finding.message} {finding.hint}"
    assert finding.hint.startswith("next: ")


@pytest.mark.parametrize(
    ("family", "trained", "gpus", "words"),
    [
        (SD1, TrainSettings(), 2, "one GPU"),
        (FLUX, TrainSettings(rank=16, alpha=8.0), 0, "alpha that is the rank"),
        (FLUX, TrainSettings(rank=16, alpha=16.0, rank_stabilized=True), 0, "alpha 64"),
    ],
)
def test_what_ai_toolkit_cannot_is_told(tmp_path, family, trained, gpus, words):
    with pytest.raises(InputError, match=words):
        ai_toolkit.launch(make_job(tmp_path, family, trained, gpus), CPU)


def test_precision_is_what_the_machine_has():
    gpu = replace(CPU, gpu=True)
    assert precision("auto", CPU) == "fp32"
    assert precision("auto", gpu) == "fp16"
    assert precision("auto", replace(gpu, bf16=True)) == "bf16"
    assert precision("fp16", CPU) == "fp16"


def test_a_command_gets_its_places_filled_in_once(tmp_path):
    told = ("train", "--config={config}", "{dataset}/{output}", "{other}", "{base_model}")
    (tmp_path / "{config}").mkdir()
    job = make_job(tmp_path / "{config}", SD1, TrainSettings(backend="command", command=told))
    filled = command.launch(job, CPU).command
    root = str(tmp_path / "{config}")
    assert filled == (
        *("train", f"--config={root}/training.json", f"{root}/pictures/{root}/output"),
        *("{other}", f"{root}/base"),
    )
    document = json.loads(Path(f"{root}/training.json").read_text())
    assert document["settings"]["rank"] == 16
    assert [part["repeats"] for part in document["pictures"]] == [1, 10, 1]


def test_pictures_are_laid_out_by_how_often_they_count(tmp_path, tiny_sd):
    dataset = tmp_path / "dataset"
    write_dataset(dataset / "mei", images=2)
    write_dataset(dataset / "more", images=3)
    (dataset / "mei" / "00.txt").write_text("a girl,\nmei standing, smile")
    (dataset / "mei" / "01.txt").unlink()
    trained = TrainSettings(shuffle_captions=True, epochs=1, batch_size=1)
    inputs = {
        "dataset": dataset,
        "base_model": tiny_sd,
        "regularization": write_dataset(tmp_path / "reg", images=1),
    }
    spec = train_spec(trained, inputs, repeats={"mei": 5})
    place = Place(root=tmp_path, spec=spec)
    job = read_job(spec, place, trained)
    assert (job.images, job.steps) == (13, 26)
    counts = [(part.images, part.repeats, part.regularization) for part in job.pictures]
    assert counts == [(3, 1, False), (2, 5, False), (1, 1, True)]
    captions = sorted(path.read_text() for path in job.pictures[1].folder.glob("*.txt"))
    assert captions == ["mei\n", "mei standing, a girl, smile\n"], "the trigger stays in front"
    pictures = list(job.pictures[1].folder.glob("*.png"))
    assert all(picture.is_symlink() and picture.read_bytes() for picture in pictures)
    again = read_job(spec, place, trained)
    assert again == job


def test_what_a_trainer_cannot_is_refused_before_it_is_translated():
    for backend in ("sd-scripts", "ai-toolkit"):
        assert {"method", "ranks", "alphas"} <= set(CANNOT[backend])
