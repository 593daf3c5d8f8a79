"""`lora-ci import kohya`: what kohya's trainer would do with a folder stands in our config."""

import json
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lora_ci.cli.main import main
from lora_ci.config.kohya import TRAIN_KEYS
from lora_ci.config.kohya_keys import RENAMED
from lora_ci.config.work_tree import read_config
from lora_ci.core.errors import UsageError
from lora_ci.diffusion.families import SD1
from lora_ci.importing.kohya import Imported, import_kohya
from lora_ci.importing.render import BaseModel
from tests.builders import RepoBuilder

BASE = BaseModel(path="models/sd", why="lies there")
TRAIN = """\
pretrained_model_name_or_path = "/home/bob/sd15.safetensors"
output_name = "mei_v1"
network_module = "networks.lora"
network_dim = 32
network_train_unet_only = true
unet_lr = 1e-4
max_train_epochs = 10
resolution = "512,512"
caption_extension = ".txt"
huggingface_token = "hf_secret"
clip_skip = 2
"""
DATASET = """\
[general]
enable_bucket = true

[[datasets]]
resolution = 768
batch_size = 2

  [[datasets.subsets]]
  image_dir = "C:\\\\Users\\\\bob\\\\mei pictures"
  num_repeats = 7
  class_tokens = "mei, girl"
  caption_extension = ".txt"

  [[datasets.subsets]]
  image_dir = "women"
  is_reg = true
  class_tokens = "woman"
  caption_extension = ".txt"
"""


def put(root: Path, folder: str, *names: str, captions: dict[str, str] | None = None) -> None:
    place = root / folder
    place.mkdir(parents=True, exist_ok=True)
    for name in names or ("0.png", "1.png"):
        (place / name).write_bytes(b"picture")
    for name, text in (captions or {}).items():
        (place / name).write_text(text)


def put_model(root: Path, folder: str = "models/sd") -> None:
    put(root, folder, "model_index.json")
    for part in SD1.parts:
        put(root, f"{folder}/{part}", "config.json")


def imported(root: Path, folder: str = "k", name: str | None = None) -> Imported:
    return import_kohya(root, root / folder, BASE, name)


def loras(made: Imported) -> dict:
    return yaml.safe_load(made.text)["loras"]


def messages(made: Imported) -> str:
    return "\n".join(f"{f.location()} {f.message}" for f in made.findings)


def test_repeats_concept_and_captions_are_those_of_the_folders(tmp_path):
    put(tmp_path, "k/img/10_mei girl", captions={"0.txt": "mei girl, smiling"})
    put(tmp_path, "k/img/3_mei dress")
    put(tmp_path, "k/img/5_leo", captions={"0.txt": "leo", "1.caption": "a man, leo"})
    made = imported(tmp_path)
    mei, leo = loras(made)["mei"], loras(made)["leo"]
    assert mei["dataset"] == [
        {"path": "k/img/10_mei girl", "repeats": 10},
        {"path": "k/img/3_mei dress", "repeats": 3},
    ]
    assert (mei["trigger"], leo["trigger"]) == ("mei", "leo")
    assert {path: text.splitlines() for path, text in made.captions.items()} == {
        "k/img/10_mei girl/metadata.jsonl": ['{"file_name": "1.png", "text": "mei girl"}'],
        "k/img/3_mei dress/metadata.jsonl": [
            '{"file_name": "0.png", "text": "mei dress"}',
            '{"file_name": "1.png", "text": "mei dress"}',
        ],
    }
    assert "kohya would train one on all" in messages(made)


def test_a_name_makes_one_lora_of_all_concepts(tmp_path):
    put(tmp_path, "k/10_mei")
    put(tmp_path, "k/3_leo")
    (lora,) = loras(imported(tmp_path, name="both")).items()
    assert lora[0] == "both"
    assert [source["repeats"] for source in lora[1]["dataset"]] == [10, 3]


def test_every_value_of_a_train_file_says_where_it_stood(tmp_path):
    put(tmp_path, "k/img/10_mei")
    put(tmp_path, "k/reg/1_woman")
    (tmp_path / "k/train.toml").write_text(TRAIN)
    made = imported(tmp_path)
    train = loras(made)["mei"]["train"]
    assert (train["rank"], train["learning_rate"], train["alpha"]) == (32, 0.0001, 1.0)
    assert (train["text_encoder"], train["buckets"]) == (False, False)
    assert (train["regularization"], train["epochs"]) == ("k/reg/1_woman", 10)
    assert "rank: 32  # k/train.toml:4: network_dim" in made.text
    assert "alpha: 1.0  # kohya's own default" in made.text
    assert "# not as in k/train.toml:11:13: `clip_skip` is 2" in made.text
    assert "k/train.toml:11:13 `clip_skip` is 2" in messages(made)
    assert not {"hf_secret", "bob"} & set(made.text.replace("/", " ").split())
    assert made.captions["k/reg/1_woman/metadata.jsonl"].count('"text": "woman"') == 2


def test_a_dataset_file_goes_before_the_names_of_folders(tmp_path):
    put(tmp_path, "k/mei pictures", captions={"0.txt": "portrait of mei, girl"})
    put(tmp_path, "k/women")
    put(tmp_path, "k/99_other")
    (tmp_path / "k/dataset.toml").write_text(DATASET)
    made = imported(tmp_path)
    (lora,) = loras(made).values()
    assert lora["dataset"] == [{"path": "k/mei pictures", "repeats": 7}]
    assert (lora["trigger"], lora["train"]["regularization"]) == ("mei, girl", "k/women")
    assert (lora["train"]["resolution"], lora["train"]["buckets"]) == (768, True)
    assert "# k/dataset.toml:10; 2 pictures" in made.text
    assert "is taken as k/mei pictures" in messages(made)
    assert "k/99_other 2 pictures that no dataset file names: left out" in messages(made)


def test_a_train_file_counts_beside_the_dataset_file_that_it_names(tmp_path):
    put(tmp_path, "k/mei pictures")
    put(tmp_path, "k/women")
    (tmp_path / "k/dataset.toml").write_text(DATASET)
    (tmp_path / "k/a.toml").write_text('network_dim = 8\ndataset_config = "/x/other.toml"\n')
    (tmp_path / "k/b.toml").write_text(
        'network_dim = 16\noutput_name = "Mei v2"\nprior_loss_weight = 0.5\n'
        'dataset_config = "/x/dataset.toml"\ntrain_batch_size = 9\n'
    )
    made = imported(tmp_path)
    (name, lora), *_ = loras(made).items()
    assert name == "mei-v2"
    assert (lora["train"]["rank"], lora["train"]["prior_weight"]) == (16, 0.5)
    # kohya takes the dataset file's.
    assert lora["train"]["batch_size"] == 2
    assert "9 here, but 2 in the dataset file" in messages(made)


@pytest.mark.parametrize("ending", [".json", ".jsonl"])
def test_kohyas_metadata_becomes_captions(tmp_path, ending):
    put(tmp_path, "k/1_mei", "a.png", "b.png", "c.png", captions={"c.txt": "mei itself"})
    entries = {"/home/bob/1_mei/a.png": {"caption": "mei", "tags": "smile, hat"}}
    entries |= {"b": {"tags": "mei, x", "train_resolution": [512, 512]}, "c": {"caption": "mei c"}}
    lines = [{"image_path": key, **value} for key, value in entries.items()]
    text = json.dumps(entries) if ending == ".json" else "\n".join(map(json.dumps, lines))
    (tmp_path / f"k/meta_lat{ending}").write_text(text)
    made = imported(tmp_path)
    rows = [json.loads(line) for line in made.captions["k/1_mei/metadata.jsonl"].splitlines()]
    assert rows == [
        {"file_name": "a.png", "text": "mei,smile, hat"},
        {"file_name": "b.png", "text": "mei, x"},
    ]
    assert "1 caption not as kohya reads them, such as that of c.png" in messages(made)


def test_captions_that_are_there_already_stay(tmp_path):
    listed = '{"file_name": "0.png", "text": "mei here"}\n'
    put(tmp_path, "k/1_mei", captions={"metadata.jsonl": listed})
    made = imported(tmp_path)
    assert made.captions == {}
    assert "1 caption of kohya's missing in metadata.jsonl: that of 1.png is 'mei'" in messages(
        made
    )


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("0_mei", "repeated 0 times: kohya leaves them out"),
        ("-3_mei", "repeated -3 times"),
        ("x_y", "in a folder without a number in its name"),
        ("ordinary", "in a folder without a number in its name"),
        ("10_mei/2_deeper", "below a folder of pictures: kohya leaves them out, here they count"),
        ("5000_leo", "repeated 5000 times: at most 1000 here"),
        (".", "in a folder without a number in its name"),
        ("3_back\\slash", "a config cannot name this folder"),
        ("3_tab\there", "a config cannot name this folder"),
    ],
)
def test_what_is_not_taken_as_it_is_is_told(tmp_path, folder, told):
    put(tmp_path, "k/10_mei")
    put(tmp_path, f"k/{folder}")
    made = imported(tmp_path)
    assert told in messages(made)
    assert "mei" in loras(made)


def test_pictures_with_odd_names_are_told(tmp_path):
    put(tmp_path, "k/10_mei", "a.png", "b\tc.png", ".hidden.png")
    made = imported(tmp_path)
    assert "k/10_mei 1 picture with control characters" in messages(made)
    assert "1 picture\n" in made.text


def test_the_documentation_names_every_key_that_is_taken():
    text = (Path(__file__).parents[2] / "docs" / "import.md").read_text()
    keys = {*RENAMED, *TRAIN_KEYS}
    assert sorted(key for key in keys if f"`{key}" not in text) == []


def test_names_that_only_a_file_system_likes(tmp_path):
    for name in ("10_", "3_美 少女", "2_it's: #1, {x}", "4_true", "7_1e3", "١_arabic"):
        put(tmp_path, f"k/{name}")
    made = imported(tmp_path)
    assert {path.rpartition("/")[2] for path in made.data} == set(os.listdir(tmp_path / "k"))
    assert {"美 少女", "it's: #1, {x}", "true", "1e3", "arabic"} <= {
        str(lora["trigger"]) for lora in loras(made).values()
    }
    assert all(isinstance(lora["trigger"], str) for lora in loras(made).values())


def test_nothing_behind_a_link_is_named(tmp_path):
    put(tmp_path, "outside/10_secret")
    put(tmp_path, "repo/k/3_mei")
    (tmp_path / "repo/k/10_link").symlink_to(tmp_path / "outside/10_secret")
    (tmp_path / "repo/k/3_mei/2.png").symlink_to(tmp_path / "outside/10_secret/0.png")
    made = imported(tmp_path / "repo")
    assert "secret" not in made.text
    assert "a link is not followed" in messages(made)
    assert "1 link in place of pictures, such as 2.png: not taken" in messages(made)


@pytest.mark.parametrize("path", ["../outside", "/etc", "..", "k/../../outside", "missing", ""])
def test_a_dataset_file_reaches_nothing_outside(tmp_path, path):
    put(tmp_path, "outside")
    put(tmp_path, "repo/k/1_mei")
    text = f"[[datasets]]\n[[datasets.subsets]]\nimage_dir = '{path}'\n"
    (tmp_path / "repo/k/d.toml").write_text(text)
    made = imported(tmp_path / "repo")
    assert list(made.data) == ["k/1_mei"]
    assert "`image_dir`" in messages(made)


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("a.toml", b"network_dim = ", "not TOML"),
        ("a.toml", b"#" * 1_000_001, "larger than the 1000000 bytes"),
        ("a.toml", b"\xff\xfe", "UTF-16"),
    ],
)
def test_a_file_that_cannot_be_read_ends_it(tmp_path, name, data, told):
    put(tmp_path, "k/1_mei")
    (tmp_path / "k" / name).write_bytes(data)
    with pytest.raises(UsageError) as caught:
        imported(tmp_path)
    assert told in caught.value.findings[0].message
    assert caught.value.findings[0].file == "k/a.toml"


@pytest.mark.parametrize("data", [b"[" * 100_000, b"{", b'{"a": 1}', b"\xff", b"[]"])
def test_metadata_that_is_none_is_told(tmp_path, data):
    put(tmp_path, "k/1_mei")
    (tmp_path / "k/meta_cap.json").write_bytes(data)
    assert "k/meta_cap.json not kohya's metadata" in messages(imported(tmp_path))


def test_a_folder_without_pictures_is_an_error(tmp_path):
    (tmp_path / "k/10_mei").mkdir(parents=True)
    with pytest.raises(UsageError, match="no folder of pictures"):
        imported(tmp_path)


def test_values_that_cannot_be_are_left_out_and_told(tmp_path):
    put(tmp_path, "k/1_mei")
    (tmp_path / "k/t.toml").write_text(
        'network_dim = 0\nlearning_rate = "fast"\nseed = 7\noutput_dir = "x"\n'
    )
    made = imported(tmp_path)
    train = loras(made)["mei"]["train"]
    assert train["seed"] == 7
    assert not {"rank", "learning_rate"} & train.keys()
    assert "k/t.toml:1:15 `train.rank` is 0" in messages(made)


def test_thousands_of_files_are_no_matter(tmp_path):
    put(tmp_path, "k/1_mei", *(f"{i}.png" for i in range(2000)))
    made = imported(tmp_path)
    assert made.captions["k/1_mei/metadata.jsonl"].count("\n") == 2000


@settings(max_examples=30)
@given(st.lists(st.text(st.characters(exclude_characters="/\0"), max_size=12), max_size=4))
def test_whatever_folders_are_called_the_config_loads(tmp_path_factory, names):
    root = tmp_path_factory.mktemp("any")
    for name in ["1_sure", *(f"2_{name}" for name in names)]:
        try:
            put(root, f"k/{name}")
        except (OSError, UnicodeEncodeError):
            continue
    made = imported(root)
    assert "k/1_sure" in made.data


def test_the_command_writes_what_plans_on_a_real_repository(tmp_path, capsys, monkeypatch):
    repo = RepoBuilder(tmp_path)
    put_model(repo.root)
    put(repo.root, "kohya/img/10_mei", captions={"0.txt": "mei smiles"})
    put(repo.root, "kohya/reg/1_woman")
    repo.write("kohya/train.toml", TRAIN)
    repo.commit()
    monkeypatch.chdir(repo.root)
    assert main(["import", "kohya", "kohya", "--dry-run"]) == 0
    assert "base_model: models/sd" in capsys.readouterr().out
    assert not (repo.root / ".lora-ci.yml").exists()
    assert main(["import", "kohya", "kohya"]) == 0
    assert (repo.root / "kohya/img/10_mei/metadata.jsonl").exists()
    lora = read_config(repo.root / ".lora-ci.yml").loras["mei"]
    assert (lora.base_model, lora.train.regularization) == ("models/sd", "kohya/reg/1_woman")
    repo.commit()
    capsys.readouterr()
    assert main(["plan", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["decisions"][0]["action"] == "run"


def test_the_command_overwrites_nothing_unasked(tmp_path, capsys):
    put(tmp_path, "k/1_mei")
    put_model(tmp_path, "other/sd")
    config = tmp_path / "k" / ".lora-ci.yml"
    config.write_text("mine")
    assert main(["import", "kohya", str(tmp_path / "k")]) == 2
    assert "there already" in capsys.readouterr().err
    assert config.read_text() == "mine"
    assert main(["import", "kohya", str(tmp_path / "k"), "--force", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loras"] == ["mei"]
    assert config.read_text().startswith("# Written by: lora-ci import kohya")
    assert main(["import", "kohya", str(tmp_path / "k"), "--out", str(tmp_path / "o.yml")]) == 0
    assert (tmp_path / "o.yml").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["{root}/missing"], "is no folder"),
        (["{root}/k", "--base-model", "{root}/k"], "is no base model in diffusers format"),
        (["{root}/k", "--base-model", "{root}/other/sd"], "does not lie below"),
    ],
)
def test_the_command_says_what_it_cannot_use(tmp_path, capsys, options, told):
    put(tmp_path, "k/1_mei")
    put_model(tmp_path, "other/sd")
    given = [option.replace("{root}", str(tmp_path)) for option in options]
    assert main(["import", "kohya", *given]) == 2
    assert told in capsys.readouterr().err
