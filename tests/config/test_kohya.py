"""kohya's files are taken as they are where we do the same, and refused where we do not."""

import pytest

from lora_ci.config.load import load_config
from lora_ci.config.model import Source
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
    assert (train.images_seen, train.resolution, train.weight_decay) == (2000, 512, 0.1)
    assert (train.min_snr_gamma, train.caption_dropout, train.max_grad_norm) == (5.0, 0.05, 0.5)
    assert (train.seed, train.checkpoint_every) == (42, 200)
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
    assert (train.schedule, train.batch_size, train.images_seen) == ("constant", 1, 1600)
    assert (train.caption_dropout, train.min_snr_gamma) == (0.0, None)
    (note,) = config.notes
    assert "text encoder" in note.message
    assert note.hint == "write `network_train_unet_only = true`"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"noise_offset = 0.1", "`noise_offset` is 0.1: not done here; there is: plain noise"),
        (b"clip_skip = 2", "there is: the last layer of the text encoder"),
        (b"text_encoder_lr = 5e-5", "the U-Net alone is trained"),
        (b'optimizer_type = "Prodigy"', '`optimizer_type` is "Prodigy": there is `AdamW`'),
        (b'optimizer_args = ["betas=0.9,0.99"]', "there is `weight_decay=…`"),
        (b'optimizer_args = "x"', "expected a list"),
        (b'lr_scheduler = "polynomial"', "`lr_scheduler` is"),
        (b"lr_warmup_steps = 10", "kohya leaves out the warm-up"),
        (b'network_module = "lycoris.kohya"', "there is: `networks.lora`"),
        (b"gradient_accumulation_steps = 4", "one batch a step"),
        (b"enable_bucket = true", "the middle square of every picture"),
        (b"max_train_epochs = 10", "depends on the number of images"),
        (b'max_train_steps = "many"', "expected a whole number >= 1"),
        (b'resolution = "512,768"', "trained as squares"),
        (b"nettwork_dim = 4", "`nettwork_dim` is not known as a key of kohya's"),
        (b"network_dim = 0", "`loras.mei.train.rank` is 0: expected a whole number >= 1"),
        (b"shuffle_caption = true", "captions as they are in their files"),
    ],
)
def test_what_would_give_another_result_is_refused_at_its_line(line, told):
    (found,) = refused(b'output_dir = "out"\n' + line + b"\n")
    assert found.startswith("t.toml:2:")
    assert told in found


@pytest.mark.parametrize(
    "line",
    [
        b"noise_offset = 0.0",
        b"clip_skip = 1",
        b"text_encoder_lr = 0",
        b'lr_scheduler = "cosine_with_restarts"',
        b'lr_scheduler = "constant_with_warmup"\nlr_warmup_steps = 10',
        b"max_train_epochs = 10\nimages_seen = 4000",
        b"enable_bucket = false\nmin_bucket_reso = 256",
        b"resolution = [512, 512]",
        b"xformers = true",
    ],
)
def test_what_gives_the_same_result_is_taken(line):
    load(b'output_dir = "out"\n' + line + b"\n")


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
    assert load(train, DATASET).loras["mei"].train.images_seen == 4000


def test_two_kohya_files_that_disagree_are_refused():
    text = SMALL.replace(b"datasets/mei", b"d.toml") + b"    train: t.toml\n"
    (found,) = findings(text, {"t.toml": TRAIN, "d.toml": DATASET})
    assert found.location() == "t.toml:12:20"
    assert found.message == "`batch_size`: 2 here, but 4 in the dataset file"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (b"shuffle_caption = false", b"shuffle_caption = true", "d.toml:3:19 `shuffle_caption`"),
        (b"num_repeats = 10", b"num_repeats = 0", "d.toml:12:17 `loras.mei.dataset.repeats` is 0"),
        (b"class_tokens = ", b"is_reg = true #", "d.toml:13:12 `is_reg` is true"),
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
