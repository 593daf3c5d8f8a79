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
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    return [text for name, text in fences if name == kind]


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


def test_the_six_examples_are_accepted():
    ukiyo, dataset, train = (text.encode() for text in blocks("toml"))
    files = {"configs/ukiyo.toml": ukiyo, "kohya/dataset.toml": dataset, "kohya/train.toml": train}
    configs = [load_config(block.encode(), read=files.get) for block in blocks("yaml")]
    one, shared, sources, kohya, matrix, team = configs
    assert one.loras["mei"].qa.gates == {"identity": ">= 0.7"}
    mei, style = shared.loras["mei"], shared.loras["ukiyo"]
    assert (mei.train.rank, mei.train.learning_rate) == (32, 1e-3)
    assert (style.train.rank, style.train.learning_rate) == (64, 1e-4)
    assert [source.repeats for source in sources.loras["mei"].dataset] == [10, 1]
    kohya_mei = kohya.loras["mei"].train
    assert kohya_mei.total_steps(1) * kohya_mei.batch_size == 4000
    assert len(matrix.loras) == 5
    assert matrix.loras["mei"].needs == tuple(name for name in matrix.loras if name != "mei")
    assert team.policy.approvers == ("ann", "bob")
    assert not any(config.notes for config in configs)


def test_what_show_prints_of_the_example_is_what_it_prints(tmp_path, capsys):
    ukiyo, *_ = blocks("toml")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "ukiyo.toml").write_text(ukiyo)
    (tmp_path / ".lora-ci.yml").write_text(blocks("yaml")[1])
    assert main(["config", "show", "--resolved", "--repo", str(tmp_path)]) == 0
    printed = capsys.readouterr().out.splitlines()
    shown = next(block for block in blocks("") if block.startswith("ukiyo:\n"))
    assert set(shown.splitlines()) <= set(printed)


def test_the_errors_shown_are_those_that_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / ".lora-ci.yml").write_text(FAULTY)
    assert main(["config", "check", "--repo", str(tmp_path)]) == 2
    assert capsys.readouterr().err in blocks("")
