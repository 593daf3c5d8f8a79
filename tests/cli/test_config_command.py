"""`lora-ci config` and `init` look at the top of the repository, wherever they are called."""

import json

import pytest

from lora_ci.cli.main import main
from tests.builders import RepoBuilder
from tests.config.told import SMALL

PICTURES = {f"{i}.png": b"picture" for i in range(4)}


@pytest.fixture
def repo(tmp_path) -> RepoBuilder:
    made = RepoBuilder(tmp_path)
    made.dvc_add("datasets/mei", PICTURES)
    (made.root / "src" / "deep").mkdir(parents=True)
    return made


def test_the_config_at_the_top_is_read_from_a_folder_below(repo, capsys, monkeypatch):
    repo.write(".lora-ci.yml", SMALL.decode())
    monkeypatch.chdir(repo.root / "src" / "deep")
    assert main(["config", "check"]) == 0
    assert main(["config", "show", "--repo", str(repo.root / "src"), "--json"]) == 0
    assert "is fine: 1 LoRA (mei)" in capsys.readouterr().out


def test_a_folder_that_is_named_may_have_a_config_of_its_own(repo, capsys, monkeypatch):
    repo.write(".lora-ci.yml", SMALL.decode())
    repo.write("src/.lora-ci.yml", SMALL.decode().replace("mei:", "leo:"))
    assert main(["config", "check", "--repo", str(repo.root / "src")]) == 0
    assert "1 LoRA (leo)" in capsys.readouterr().out
    monkeypatch.chdir(repo.root / "src")
    assert main(["config", "check"]) == 0
    assert "1 LoRA (mei)" in capsys.readouterr().out


def test_init_writes_at_the_top_and_says_so(repo, capsys, monkeypatch):
    monkeypatch.chdir(repo.root / "src" / "deep")
    assert main(["init"]) == 0
    told = capsys.readouterr().out
    assert f"wrote {repo.root / '.lora-ci.yml'} for mei, at the top of the repository" in told
    assert not (repo.root / "src" / "deep" / ".lora-ci.yml").exists()
    assert main(["init"]) == 2


def test_outside_of_git_it_is_the_folder(tmp_path, capsys):
    (tmp_path / ".lora-ci.yml").write_bytes(SMALL)
    assert main(["config", "check", "--repo", str(tmp_path)]) == 0
    assert main(["config", "check", "--repo", str(tmp_path / "nowhere")]) == 2
    assert "there is no config" in capsys.readouterr().err


@pytest.mark.parametrize("make", [lambda p: p.symlink_to("nowhere"), lambda p: p.mkdir()])
def test_what_is_no_file_is_no_config_and_init_writes_nothing(repo, capsys, make):
    make(repo.root / ".lora-ci.yml")
    for command in (["config", "check"], ["config", "show"], ["init", "--github"]):
        assert main([*command, "--repo", str(repo.root)]) == 2
        told = capsys.readouterr().err
        assert "not a regular file [config.not-a-file]" in told
        assert "lora-ci init" not in told
        assert "config check" not in told
    assert not (repo.root / ".github").exists()
    assert not (repo.root / "nowhere").exists()


def test_show_prints_no_control_characters_of_prompts(tmp_path, capsys):
    text = SMALL + b'    qa: {prompts: ["a\\nb"], negative_prompt: "\xe2\x80\x8b"}\n'
    (tmp_path / ".lora-ci.yml").write_bytes(text)
    assert main(["config", "show", "--repo", str(tmp_path)]) == 0
    assert "\u200b" not in capsys.readouterr().out
    assert main(["config", "show", "--repo", str(tmp_path), "--json"]) == 0
    values = {r["path"]: r["value"] for r in json.loads(capsys.readouterr().out)["loras"]["mei"]}
    assert values["qa.prompts"] == ["a\nb"]
