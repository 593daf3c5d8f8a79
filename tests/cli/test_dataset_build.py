"""`dataset build`: what it prints, what it refuses, and that DVC tracks what it made."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lora_ci.cli.main import main
from tests.command import Told, assert_one_message, lora_ci

PICTURES = Path(__file__).parents[2] / "examples" / "emoji" / "pictures" / "mochi"


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def built(capsys, monkeypatch, cache):
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))

    def run(*words: object) -> Told:
        code = main(["dataset", "build", *map(str, words)])
        told = capsys.readouterr()
        return Told(code, told.out, told.err)

    return run


def test_what_it_chose_and_what_comes_next(built, tmp_path):
    out = tmp_path / "out"
    told = built(PICTURES, "--target", 3, "--references", 1, "--out", out, "--quiet")
    assert (told.code, told.err) == (0, "")
    assert told.out.startswith("3 of 6 pictures to train on, 1 held out; ")
    assert f"lora-ci dataset validate {out}/dataset --references {out}/references" in told.out
    assert sorted(path.name for path in out.iterdir()) == [
        "contact-sheet.html",
        "dataset",
        "datasheet.json",
        "datasheet.md",
        "references",
    ]


def test_a_dry_run_writes_nothing_and_json_tells_all(built, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = built(PICTURES, "--target", 3, "--dry-run", "--embedder", "classic:", "--json", "-q")
    found = json.loads(told.out)
    assert (told.code, found["schema"], found["out"]) == (0, "lora-ci.dataset-build/1", None)
    assert len(found["pictures"]) == 6
    assert all(picture["reason"] for picture in found["pictures"])
    assert not list(tmp_path.iterdir())
    assert "nothing was written" in built(PICTURES, "--target", 3, "--dry-run").out


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--target", 3), 2),
        (("--target", 0, "--dry-run"), 2),
        (("--target", 3, "--size", 7, "--dry-run"), 2),
        (("--target", 3, "--references", -1, "--dry-run"), 2),
        (("--target", 3, "--embedder", "onnx:nowhere.onnx", "--dry-run"), 2),
        (("--target", 3, "--embedder", "clip", "--dry-run"), 2),
        (("--target", 3, "--pin", "nowhere.png", "--dry-run"), 2),
        (("--target", 3, "--allow", "image.blured", "--dry-run"), 2),
        (("--target", 3, "--out", "out", "--dvc"), 2),
        (("--target", 99, "--dry-run"), 1),
    ],
)
def test_what_cannot_be_is_told_once_with_what_to_do(built, tmp_path, monkeypatch, words, code):
    monkeypatch.chdir(tmp_path)
    assert_one_message(built(PICTURES, *words, "-q"), code)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_full_disk_is_told_and_the_same_command_goes_on(tmp_path, cache):
    words = ("dataset", "build", str(PICTURES), "--target", "3", "--out", "out", "--quiet")
    env = {"XDG_CACHE_HOME": str(cache)}
    told = lora_ci(tmp_path, *words, env=env, max_file_bytes=6000)
    assert_one_message(told, 4, str(tmp_path))
    assert not (tmp_path / "out").exists()
    assert lora_ci(tmp_path, *words, env=env).code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_an_embedder_of_the_repository_sees_what_is_alike(built, tmp_path):
    model = PICTURES.parents[1] / "clip"
    told = built(
        PICTURES, "--target", 2, "--dry-run", "--embedder", f"path:{model}", "--json", "-q"
    )
    assert told.code == 0
    assert json.loads(told.out)["features"].startswith("path:")


@pytest.mark.slow
def test_dvc_tracks_what_was_built(built, tmp_path):
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    out = tmp_path / "datasets" / "mochi"
    told = built(PICTURES, "--target", 3, "--references", 1, "--out", out, "--dvc", "-q")
    assert told.code == 0
    assert (out / "dataset.dvc").is_file()
    assert (out / "references.dvc").is_file()


def test_a_file_is_no_source(built, tmp_path):
    file = tmp_path / "a.png"
    shutil.copy(PICTURES / "cat-face.png", file)
    assert_one_message(built(file, "--target", 1, "--out", tmp_path / "out"), 2, "is no folder")
