"""The config: what is read, and how every error of a file is told at once, with its line."""

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.config.load import load_config
from lora_ci.config.model import Config
from lora_ci.config.schema import config_schema, render_schema
from lora_ci.core.errors import UsageError
from lora_ci.core.settings import TrainSettings

SMALL = b"""\
version: 1
loras:
  mei:
    dataset: datasets/mei
    base_model: models/sd
"""


def errors(text: bytes, files: dict[str, bytes] | None = None) -> list[str]:
    with pytest.raises(UsageError) as caught:
        load_config(text, read=(files or {}).get)
    return [f"{f.location()} {f.message}" for f in caught.value.findings]


def test_the_smallest_config_is_four_facts():
    mei = load_config(SMALL).loras["mei"]
    assert (mei.dataset, mei.base_model, mei.trigger) == ("datasets/mei", "models/sd", "mei")
    assert mei.train == TrainSettings()


def test_defaults_are_merged_all_the_way_down_and_values_know_their_line():
    config = load_config(b"""\
version: 1
defaults:
  base_model: models/sd
  train: {rank: 8, learning_rate: 1e-3}
loras:
  mei:
    dataset: datasets/mei
    train: {rank: 32}
""")
    mei = config.loras["mei"]
    assert (mei.train.rank, mei.train.learning_rate) == (32, 0.001)
    assert config.where("loras.mei.train.rank").line == 8
    assert config.where("loras.mei.train.learning_rate").line == 4
    assert config.where("loras.mei.train.seed").line == 8


def test_train_settings_may_stand_in_a_toml_file():
    text = SMALL + b"    train: configs/mei.toml\n"
    config = load_config(text, read={"configs/mei.toml": b"# comment\nrank = 7\n"}.get)
    assert config.loras["mei"].train.rank == 7
    where = config.where("loras.mei.train.rank")
    assert (where.file, where.line) == ("configs/mei.toml", 2)


def test_all_errors_of_a_file_come_at_once():
    found = errors(b"""\
version: 2
loras:
  Mei:
    datset: a
    train: {rank: 0, learning_rate: fast}
    qa: {gates: {identity: "about 0.7"}, references: ../../etc}
""")
    assert [text.split(" ")[0].removeprefix(".lora-ci.yml:") for text in found] == [
        "1:10", "4:5", "4:13", "4:5", "4:5", "5:19", "5:37", "6:28", "6:54",
    ]  # fmt: skip
    assert "version 2 is not known" in found[0]
    assert "`Mei` is no LoRA name" in found[1]
    assert "`datset` is no key of loras.Mei" in found[2]
    assert "`loras.Mei.train.rank` is '0': expected `int` >= 1" in found[5]
    assert "leads out of the repository" in found[8]


def test_a_mistyped_key_gets_the_nearest_one():
    with pytest.raises(UsageError) as caught:
        load_config(SMALL + b"    trian: {}\n")
    assert caught.value.findings[0].hint == "did you mean `train`?"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"a: &x 1\nb: *x\n", "anchors and aliases"),
        (b"version: 1\nversion: 1\n", "stands twice"),
        (b"version: !!python/object/apply:os.system [ls]\n", "tag"),
        (b"[" * 5000, "nested deeper"),
        (b"a: " * 3 + b"\n", "not YAML"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"x" * 300_000, "at most"),
        (b"- 1\n", "expected keys and values"),
        (b"", "no LoRA is configured"),
        (b"version: 1\nloras: 5\n", "expected keys and values"),
        (b"? [a, b]\n: 1\n", "a key must be plain text"),
    ],
)
def test_hostile_and_broken_documents_are_refused(text, words):
    assert words in " ".join(errors(text))


def test_yaml_means_what_it_says():
    """No YAML 1.1 surprises: `no` and `on` are text, 010 is ten, 1e-4 is a number."""
    config = load_config(SMALL + b"    trigger: no\n    train: {rank: 010, learning_rate: 1e-4}\n")
    mei = config.loras["mei"]
    assert (mei.trigger, mei.train.rank, mei.train.learning_rate) == ("no", 10, 1e-4)


@given(st.binary(max_size=300))
def test_any_bytes_give_a_config_or_a_usage_error(data):
    try:
        config = load_config(data)
    except UsageError as error:
        assert error.findings  # noqa: PT017 - either ending is right, nothing else is
    else:
        assert isinstance(config, Config)


def test_the_shipped_schema_is_in_step_and_accepts_what_the_code_accepts():
    path = Path(__file__).parents[2] / ".lora-ci.schema.json"
    assert path.read_text() == render_schema(), "next: make schema"
    schema = config_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    good = {"version": 1, "loras": {"mei": {"dataset": "d", "base_model": "m", "train": "t.toml"}}}
    jsonschema.validate(good, schema)
    bad = json.loads(json.dumps(good).replace("dataset", "datset"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(bad, schema)
