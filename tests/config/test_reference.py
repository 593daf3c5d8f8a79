"""docs/config.md says what the code does: its tables, its examples, its error messages."""

import re
from pathlib import Path

import pytest

from lora_ci.cli.main import main
from lora_ci.config.load import load_config
from lora_ci.config.reference import render_reference

DOCS = Path(__file__).parents[2] / "docs" / "config.md"
MARKS = "<!-- lora-ci config keys -->\n", "<!-- end -->\n"
FAULTY = """\
version: 1
defaults:
  base_model: models/sd15
loras:
  mei:
    dataset: datasets/mei
    train: {rank: 0, learning_rate: fast}
    qa:
      gates: {identity: "about 0.7"}
    trian: {}
"""


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)


def test_the_tables_name_every_key_as_it_is(request):
    text = DOCS.read_text()
    before, rest = text.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    whole = f"{before}{MARKS[0]}\n{render_reference()}\n{MARKS[1]}{after}"
    if request.config.getoption("--update-goldens"):
        DOCS.write_text(whole)
        text = whole
    assert text == whole, "docs/config.md is out of step; next: make golden"


def test_keys_prints_the_tables(capsys):
    assert main(["config", "keys"]) == 0
    assert capsys.readouterr().out == render_reference()


def test_the_examples_are_accepted():
    (toml,) = blocks("toml")
    configs = [
        load_config(block.encode(), read={"configs/ukiyo.toml": toml.encode()}.get)
        for block in blocks("yaml")
    ]
    assert len(configs) == 3
    mei, ukiyo = configs[1].loras["mei"], configs[1].loras["ukiyo"]
    assert (mei.train.rank, mei.train.learning_rate) == (32, 1e-3)
    assert (ukiyo.train.rank, ukiyo.train.learning_rate) == (64, 1e-4)


def test_the_errors_shown_are_those_that_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / ".lora-ci.yml").write_text(FAULTY)
    assert main(["config", "check", "--repo", str(tmp_path)]) == 2
    assert capsys.readouterr().err in blocks("")
