"""kohya's files are taken as they are where we do the same, and refused where we do not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.config.load import load_config
from lora_ci.config.model import Source
from lora_ci.core.errors import UsageError
from tests.config.told import SMALL, errors, findings

TRAIN = b"""\
pretrained_model_name_or_path = "/models/sd15.safetensors"
output_dir = "out"
logging_dir = "logs"
network_module = "networks.lora"
network_train_unet_only = true
network_dim = 32
network_alpha = 16
unet_lr = 1e-4
learning_rate = 5e-5
lr_scheduler = "cosine"
lr_warmup_steps = 100
train_batch_size = 2
max_train_steps = 1000
resolution = "512,512"
optimizer_type = "AdamW"
optimizer_args = ["weight_decay=0.1"]
min_snr_gamma = 5
caption_dropout_rate = 0.05
max_grad_norm = 0.5
seed = 42
save_every_n_steps = 200
mixed_precision = "fp16"
gradient_checkpointing = true
"""
DATASET = b"""\
[general]
caption_extension = ".txt"
shuffle_caption = false
flip_aug = true

[[datasets]]
resolution = 512
batch_size = 4

  [[datasets.subsets]]
  image_dir = "datasets/mei"
  num_repeats = 10
  class_tokens = "mei girl"

  [[datasets.subsets]]
  image_dir = './datasets/extra/'
"""


def load(train: bytes = TRAIN, dataset: bytes | None = None):
    text = SMALL + b"    train: train.toml\n"
    if dataset is not None:
        text = text.replace(b"datasets/mei", b"dataset.toml")
    return load_config(text, read={"train.toml": train, "dataset.toml": dataset}.get)


def refused(line: bytes, files=None) -> list[str]:
    return errors(SMALL + b"    train: t.toml\n", {"t.toml": line, **(files or {})})


def test_a_train_file_is_mapped_exactly():
    config = load()
    train = config.loras["mei"].train
    assert (train.rank, train.alpha, train.learning_rate) == (32, 16.0, 1e-4)
    assert (train.schedule, train.warmup_steps, train.batch_size) == ("cosine", 100, 2)
    assert (train.steps, train.resolution, train.weight_decay) == (1000, 512, 0.1)
    assert (train.min_snr_gamma, train.caption_dropout, train.max_grad_norm) == (5.0, 0.05, 0.5)
    assert (train.seed, train.checkpoint_every) == (42, 200)
    assert (train.precision, train.gradient_checkpointing) == ("fp16", True)
    assert (train.buckets, train.text_encoder) == (False, False)
    assert train.modules == ("attention", "feed-forward", "proj_in", "proj_out")
    where = config.where("loras.mei.train.rank")
    assert (where.file, where.line, where.column) == ("train.toml", 6, 15)
    assert config.notes == ()


def test_tables_of_a_train_file_mean_nothing():
    sections = b"[Training]\n" + TRAIN.replace(b"max_train", b"[More]\nmax_train")
    assert load(sections).loras["mei"].train == load().loras["mei"].train


def test_what_a_train_file_leaves_out_is_as_kohya_has_it():
    config = load(b'network_module = "networks.lora"\n')
    train = config.loras["mei"].train
    assert (train.rank, train.alpha, train.learning_rate) == (4, 1.0, 2e-6)
    assert (train.schedule, train.batch_size, train.steps) == ("constant", 1, 1600)
    assert (train.caption_dropout, train.min_snr_gamma, train.precision) == (0.0, None, "fp32")
    assert (train.buckets, train.keep_tags, train.text_encoder) == (False, 0, True)
    (note,) = config.notes
    assert "here its attention alone" in note.message
    assert "`network_train_unet_only = true`" in note.hint


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"multires_noise_iterations = 6", "is 6: not done here; there is: plain noise"),
        (b"clip_skip = 2", "there is: the last layer of the text encoder"),
        (b"text_encoder_lr = [1e-5, 5e-5]", "the text encoders have one rate here"),
        (b'optimizer_type = "Lion"', '`optimizer_type` is "Lion": there are `AdamW`, `AdamW8bit`'),
        (b'optimizer_args = ["betas=0.8,0.99"]', "there is `weight_decay=…`, and `betas=(0.9"),
        (b'optimizer_args = "x"', "expected a list"),
        (b'optimizer_args = ["weight_decay"]', "expected such as `key=0.1`"),
        (b"optimizer_args = [\"weight_decay=__import__('os')\"]", "expected such as `key=0.1`"),
        (b'optimizer_type = "Adafactor"', "adafactor has `relative_step=False` here"),
        (b'lr_scheduler = "polynomial"', "`lr_scheduler` is"),
        (b"lr_warmup_steps = 10", "kohya's trainer stops at a warm-up"),
        (b'lr_scheduler = "cosine"\nlr_warmup_steps = 0.1', "a share of steps that are not known"),
        (b'network_module = "lycoris.kohya"', "there is: `networks.lora`"),
        (b'network_args = ["dora_wd=True"]', "there are `conv_dim` and `conv_alpha`"),
        (b"gradient_accumulation_steps = 0", "expected a whole number >= 1"),
        (b'mixed_precision = "fp8"', "expected `no`, `fp16` or `bf16`"),
        (b'max_train_steps = "many"', 'steps` is "many": expected a whole number'),
        (b'resolution = "512,768"', "expected the side of a square"),
        (b"nettwork_dim = 4", "`nettwork_dim` is not known as a key of kohya's"),
        (b"network_dim = 0", "`loras.mei.train.rank` is 0: expected a whole number >= 1"),
        (b'caption_separator = "|"', "not done here; there is: `,`"),
        (b'reg_data_dir = "/data/reg"', "leads out of the repository"),
    ],
)
def test_what_would_give_another_result_is_refused_at_its_line(line, told):
    first, *_ = refused(b'output_dir = "out"\n' + line + b"\n")
    assert first.startswith(("t.toml:2:", "t.toml:3:"))
    assert told in first


@pytest.mark.parametrize(
    "line",
    [
        b"multires_noise_iterations = 0",
        b"clip_skip = 1",
        b"text_encoder_lr = 0",
        b'lr_scheduler = "constant_with_warmup"\nlr_warmup_steps = 10',
        b'optimizer_type = "AdamWScheduleFree"\nlr_scheduler = "polynomial"',
        b'optimizer_args = ["betas=0.9,0.999", "eps=1e-8"]',
        b"max_train_epochs = 10\nimages_seen = 4000",
        b"enable_bucket = false\nmin_bucket_reso = 256",
        b"resolution = [512, 512]",
        b"xformers = true",
    ],
)
def test_what_gives_the_same_result_is_taken(line):
    load(b'output_dir = "out"\n' + line + b"\n")


def settings(*lines: bytes):
    given = [b'output_dir = "out"', b"network_train_unet_only = true", *lines]
    return load(b"\n".join(given)).loras["mei"].train


@pytest.mark.parametrize(
    ("lines", "means"),
    [
        (b"noise_offset = 0.05", {"noise_offset": 0.05}),
        (b"enable_bucket = true\nbucket_reso_steps = 32", {"buckets": True, "bucket_step": 32}),
        (b"shuffle_caption = true\nkeep_tokens = 2", {"shuffle_captions": True, "keep_tags": 2}),
        (b"random_crop = true", {"crop": "random"}),
        (b'lr_scheduler = "linear"', {"schedule": "linear"}),
        (
            b'lr_scheduler = "cosine_with_restarts"\nlr_scheduler_num_cycles = 3',
            {"schedule": "cosine-with-restarts", "restarts": 3},
        ),
        (
            b'lr_scheduler = "cosine"\nlr_warmup_steps = 0.1\nmax_train_steps = 500',
            {"warmup_steps": 50, "steps": 500},
        ),
        (b"use_8bit_adam = true", {"optimizer": "adamw8bit", "weight_decay": 0.01}),
        (b'optimizer_type = "AdamW8bit"', {"optimizer": "adamw8bit"}),
        (
            b'optimizer_type = "prodigy"\nlearning_rate = 1.0\n'
            b'optimizer_args = ["decouple=True", "use_bias_correction=True", "weight_decay=0.1"]',
            {"optimizer": "prodigy", "weight_decay": 0.1},
        ),
        (
            b'optimizer_type = "AdamWScheduleFree"\noptimizer_args = ["warmup_steps=20"]\n'
            b'lr_scheduler = "cosine"',
            {
                "optimizer": "schedule-free-adamw",
                "weight_decay": 0.0,
                "warmup_steps": 20,
                "schedule": "constant",
            },
        ),
        (
            b'optimizer_type = "Adafactor"\n'
            b'optimizer_args = ["relative_step=False", "scale_parameter=False"]',
            {"optimizer": "adafactor", "weight_decay": 0.0},
        ),
        (
            b"train_batch_size = 2\ngradient_accumulation_steps = 4\nmax_train_steps = 7",
            {"batch_size": 8, "gradient_accumulation": 4, "steps": 7},
        ),
        (b"max_train_epochs = 10\nmax_train_steps = 7", {"epochs": 10, "steps": None}),
        (
            b'reg_data_dir = "reg"\nprior_loss_weight = 0.5\nmax_train_epochs = 10',
            {"regularization": "reg", "prior_weight": 0.5, "epochs": 10},
        ),
        (b'mixed_precision = "bf16"', {"precision": "bf16"}),
        (
            b'network_args = ["conv_dim=8", "conv_alpha=4"]',
            {
                "ranks": {"conv1": 8, "conv2": 8, "samplers.0.conv": 8},
                "alphas": {"conv1": 4.0, "conv2": 4.0, "samplers.0.conv": 4.0},
            },
        ),
        (b"validation_split = 0.2", {"validation_share": 0.2}),
    ],
)
def test_what_a_line_means_is_what_is_trained(lines, means):
    train = settings(lines)
    assert {key: getattr(train, key) for key in means} == means


@pytest.mark.parametrize(
    ("lines", "rates"),
    [
        (b"text_encoder_lr = 5e-5\nunet_lr = 1e-4", (True, 1e-4, 5e-5)),
        (b"text_encoder_lr = [5e-5, 5e-5]\nlearning_rate = 1e-4", (True, 1e-4, 5e-5)),
        (b"learning_rate = 1e-4", (True, 1e-4, None)),
        (b"learning_rate = 1e-4\nunet_lr = 3e-4", (True, 3e-4, 1e-4)),
        (b"text_encoder_lr = 0.0\nlearning_rate = 1e-4", (False, 1e-4, None)),
    ],
)
def test_the_text_encoder_is_taught_at_the_rate_that_kohya_has(lines, rates):
    train = load(b'output_dir = "out"\n' + lines).loras["mei"].train
    assert (train.text_encoder, train.learning_rate, train.text_encoder_learning_rate) == rates


LITERALS = st.sampled_from(
    ["{}", "{'a': 1}", "(b'x',)", "[[1]]", "10**9", "9" * 190, "1e999", "True", "None", "(" * 190]
)


@given(
    st.sampled_from(["network_args", "optimizer_args"]),
    st.sampled_from(["conv_dim", "conv_alpha", "weight_decay", "warmup_steps", "betas", "x", ""]),
    LITERALS | st.text(max_size=20),
)
def test_whatever_an_argument_holds_is_taken_or_told(name, key, value):
    text = json.dumps([f"{key}={value}", "conv_dim=4"], ensure_ascii=True)
    train = f'optimizer_type = "AdamWScheduleFree"\n{name} = {text}\n'.encode()
    told = {"train.toml"}
    try:
        load(b'output_dir = "out"\n' + train)
    except UsageError as error:
        told = {found.file for found in error.findings}
    assert told == {"train.toml"}


def test_what_is_done_not_quite_alike_is_noted():
    lines = b'optimizer_type = "Prodigy"\nenable_bucket = true\nbucket_no_upscale = true\n'
    config = load(b'output_dir = "out"\nnetwork_train_unet_only = true\nunet_lr = 0.5\n' + lines)
    told = " ".join(note.message for note in config.notes)
    assert "prodigy has `use_bias_correction=True` here" in told
    assert "`learning_rate` is 0.5: kohya multiplies Prodigy's own rate by it" in told
    assert "here small pictures are enlarged" in told
    assert len(config.notes) == 3


def test_a_dataset_file_gives_sources_and_what_it_says_of_training():
    config = load(b"rank = 8\n", DATASET)
    lora = config.loras["mei"]
    assert lora.dataset == (
        Source(path="datasets/mei", repeats=10),
        Source(path="datasets/extra"),
    )
    assert (lora.train.rank, lora.train.resolution) == (8, 512)
    assert (lora.train.batch_size, lora.train.flip) == (4, True)
    assert config.where("loras.mei.train.batch_size").line == 8


def test_our_own_train_settings_stand_above_those_of_a_dataset_file():
    assert load(b"resolution = 256\n", DATASET).loras["mei"].train.resolution == 256


def test_steps_count_the_batch_of_the_dataset_file():
    train = TRAIN.replace(b"train_batch_size = 2\n", b"")
    mei = load(train, DATASET).loras["mei"].train
    assert mei.total_steps(100) * mei.batch_size == 4000


def test_two_kohya_files_that_disagree_are_refused():
    text = SMALL.replace(b"datasets/mei", b"d.toml") + b"    train: t.toml\n"
    (found,) = findings(text, {"t.toml": TRAIN, "d.toml": DATASET})
    assert found.location() == "t.toml:12:20"
    assert found.message == "`batch_size`: 2 here, but 4 in the dataset file"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b"shuffle_caption = false", b"color_aug = true", "d.toml:3:13 `color_aug` is true"),
        (b"num_repeats = 10", b"num_repeats = 0", "d.toml:12:17 `loras.mei.dataset.repeats` is 0"),
        (
            b"'./datasets/extra/'",
            b"'x'\n  random_crop = true\n[[datasets]]\n[[datasets.subsets]]\n"
            b"image_dir = 'y'\nrandom_crop = false",
            '`crop` is "center" here and "random" before',
        ),
        (b"class_tokens", b"clas_tokens", "d.toml:13:3 `clas_tokens` is not known"),
        (b'"datasets/mei"', b'"/data/mei"', "d.toml:11:15 `/data/mei` leads out"),
        (b"  image_dir = './datasets/extra/'", b"  flip_aug = false", "without `image_dir`"),
        (b"[[datasets]]", b"[datasets]", "expected `[[datasets]]`"),
        (b"[[datasets.subsets]]", b"[[datasets.x]]", "no `[[datasets.subsets]]`"),
        (b"[general]", b"[generel]", "d.toml:1:1 `generel` is no key of d.toml"),
        (b"'./datasets/extra/'", b"'x'\n  resolution = 768", "`resolution` is 768 here and 512"),
        (b'".txt"', b'".json"', "there is: `.txt` and `.caption`"),
    ],
)
def test_what_a_dataset_file_cannot_have_is_told_at_its_line(old, new, told):
    text = SMALL.replace(b"datasets/mei", b"d.toml")
    assert told in errors(text, {"d.toml": DATASET.replace(old, new)})[0]


REG = DATASET.replace(
    b"  image_dir = './datasets/extra/'", b"  image_dir = './women/'\n  is_reg = true"
)


def test_a_subset_of_regularization_images_is_no_source():
    lora = load(b"rank = 8\n", REG).loras["mei"]
    assert [source.path for source in lora.dataset] == ["datasets/mei"]
    assert lora.train.regularization == "women"


def test_there_is_one_folder_of_regularization_images_and_something_beside_it():
    text = SMALL.replace(b"datasets/mei", b"d.toml")
    alone = REG.replace(b'"datasets/mei"', b'"women"\n  is_reg = true')
    assert "there is nothing to learn" in errors(text, {"d.toml": alone})[0]
    two = REG + b"\n  [[datasets.subsets]]\n  image_dir = 'men'\n  is_reg = true\n"
    assert '`regularization` is "men" here and "women" before' in errors(text, {"d.toml": two})[0]
