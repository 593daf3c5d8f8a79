"""`lora-ci init` writes a config for what lies there, which the loader accepts."""

import json
from pathlib import Path

import pytest
import yaml

from lora_ci.cli import workflow
from lora_ci.cli.main import main
from lora_ci.config.load import load_config
from lora_ci.config.work_tree import read_config
from tests.builders import RepoBuilder

PICTURES = {f"{i}.png": b"picture" for i in range(4)}


def put(root: Path, path: str, files: dict[str, bytes] = PICTURES) -> None:
    folder = root / path
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def init(root: Path, *options: str) -> int:
    return main(["init", "--repo", str(root), *options])


def loras(root: Path):
    return read_config(root / ".lora-ci.yml").loras


def test_dvc_and_plain_folders_are_found_pulled_or_not(tmp_path):
    repo = RepoBuilder(tmp_path)
    repo.dvc_add("datasets/mei", PICTURES)
    repo.dvc_add("models/sd", {"model_index.json": b"{}"})
    repo.write(
        "dvc.lock",
        "schema: '2.0'\nstages:\n  crop:\n    cmd: crop\n    outs:\n"
        "    - path: made/leo\n      md5: 0123456789abcdef0123456789abcdef.dir\n"
        "    - path: made/log.txt\n      md5: 0123456789abcdef0123456789abcdef\n",
    )
    put(repo.root, "datasets/Ukiyo E")
    put(repo.root, "datasets/mei-references")
    assert init(repo.root) == 0
    found = loras(repo.root)
    assert {name: lora.dataset[0].path for name, lora in found.items()} == {
        "ukiyo-e": "datasets/Ukiyo E",
        "mei": "datasets/mei",
        "leo": "made/leo",
    }
    assert found["mei"].qa.references == "datasets/mei-references"
    assert found["mei"].base_model == "models/sd"


def test_kohyas_folders_tell_repeats_and_trigger(tmp_path):
    put(tmp_path, "img/10_mei girl")
    put(tmp_path, "img/3_mei woman")
    put(tmp_path, "img/5_leo")
    put(tmp_path, "models/sd", {"model_index.json": b"{}"})
    assert init(tmp_path) == 0
    found = loras(tmp_path)
    assert [(s.path, s.repeats) for s in found["mei"].dataset] == [
        ("img/10_mei girl", 10),
        ("img/3_mei woman", 3),
    ]
    assert (found["leo"].trigger, found["leo"].dataset[0].repeats) == ("leo", 5)


def test_kohyas_files_are_used_if_they_can_be(tmp_path):
    put(tmp_path, "datasets/mei")
    put(tmp_path, "datasets/leo")
    put(
        tmp_path,
        "configs",
        {
            "mei.toml": b'network_dim = 8\nnetwork_module = "networks.lora"\n',
            "leo.toml": b"network_dim = 8\nclip_skip = 2\n",
            "extra_dataset.toml": b'[[datasets]]\n[[datasets.subsets]]\nimage_dir = "e"\n',
        },
    )
    assert init(tmp_path) == 0
    found = loras(tmp_path)
    assert found["mei"].train.rank == 8
    assert found["leo"].train.rank == 16
    assert found["extra"].dataset[0].path == "e"
    text = (tmp_path / ".lora-ci.yml").read_text()
    assert "# configs/leo.toml is not taken: line 2: `clip_skip` is 2" in text


def test_without_a_base_model_it_says_what_to_do(tmp_path, capsys):
    put(tmp_path, "datasets/mei")
    assert init(tmp_path) == 0
    assert "no base model was found" in capsys.readouterr().out
    assert "revision: <full commit id>" in (tmp_path / ".lora-ci.yml").read_text()
    assert main(["config", "check", "--repo", str(tmp_path)]) == 0


@pytest.mark.parametrize("name", ["null", "10", "a: b", "# x", "'", 'q"', "é", "x.toml", "a,b]"])
def test_whatever_a_folder_is_called_the_config_can_be_read(tmp_path, name):
    put(tmp_path, f"datasets/{name}")
    assert init(tmp_path) == 0
    (lora,) = loras(tmp_path).values()
    assert lora.dataset[0].path == f"datasets/{name}"
    assert lora.trigger == name


def test_nothing_is_overwritten_and_nothing_half_written(tmp_path, capsys):
    assert init(tmp_path) == 2
    put(tmp_path, "datasets/mei")
    (tmp_path / ".lora-ci.yml").write_text("mine")
    assert init(tmp_path) == 2
    assert init(tmp_path, "--github") == 0
    assert init(tmp_path, "--github") == 2
    assert (tmp_path / ".lora-ci.yml").read_text() == "mine"
    assert (tmp_path / workflow.FILE).read_text() == workflow.TEXT
    assert {p.name for p in tmp_path.iterdir()} == {".lora-ci.yml", ".github", "datasets"}


def test_a_dangling_link_is_not_written_through(tmp_path):
    put(tmp_path, "datasets/mei")
    (tmp_path / ".lora-ci.yml").symlink_to(tmp_path / "elsewhere")
    assert init(tmp_path) == 2
    assert not (tmp_path / "elsewhere").exists()


def test_json_names_what_was_written(tmp_path, capsys):
    put(tmp_path, "datasets/mei")
    assert init(tmp_path, "--json", "--github") == 0
    body = json.loads(capsys.readouterr().out)
    assert body["schema"] == "lora-ci.init/1"
    assert body["files"] == [".lora-ci.yml", workflow.FILE]
    assert (body["datasets"], body["base_model"]) == (["datasets/mei"], None)


def test_the_workflow_is_the_one_that_is_documented():
    docs = Path(__file__).parents[2] / "docs" / "github.md"
    assert f"```yaml\n{workflow.TEXT}```" in docs.read_text()


def test_the_written_text_is_commented(tmp_path):
    put(tmp_path, "datasets/mei")
    init(tmp_path)
    text = (tmp_path / ".lora-ci.yml").read_text()
    assert text.count("#") >= 3
    assert list(load_config(text.encode()).loras) == ["mei"]


@pytest.mark.parametrize(
    ("branch", "shown"), [("master", "[master]"), ("main", "[main]"), ("a'b", '["a\'b"]')]
)
def test_the_workflow_looks_at_the_default_branch(branch, shown):
    written = workflow.written_for(branch)
    assert f"    branches: {shown}\n" in written
    assert yaml.safe_load(written)[True]["push"]["branches"] == [branch]


def test_the_workflow_of_single_steps_is_written_if_asked_for(tmp_path, capsys):
    put(tmp_path, "datasets/mei")
    assert init(tmp_path, "--steps") == 0
    assert workflow.STEP_PLACE in capsys.readouterr().out
    assert (tmp_path / workflow.STEP_FILE).read_text() == workflow.STEP_TEXT
    assert not (tmp_path / workflow.FILE).exists()
    assert init(tmp_path, "--steps") == 2
