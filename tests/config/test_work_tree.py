"""The config in a folder: only a regular file is read, whatever lies in its place."""

import os
import socket

import pytest

from lora_ci.config.work_tree import read_config
from lora_ci.core.errors import UsageError
from tests.config.told import SMALL


def link(path):
    path.symlink_to("/etc/passwd")


def broken_link(path):
    path.symlink_to("nowhere")


def bound(path):
    # The name of a socket may not be long.
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(path.parent)
        listener.bind(path.name)
        os.chdir(here)


KINDS = [
    (link, "a symbolic link"),
    (broken_link, "a symbolic link"),
    (lambda path: path.mkdir(), "a folder"),
    (os.mkfifo, "a pipe"),
    (bound, "a socket"),
]


def refused(path) -> str:
    with pytest.raises(UsageError) as caught:
        read_config(path)
    (finding,) = caught.value.findings
    assert (finding.hint or "").startswith("next: ")
    return f"{finding.location()}: {finding.message}"


@pytest.mark.parametrize(("make", "kind"), KINDS)
def test_the_config_is_a_regular_file(tmp_path, make, kind):
    make(tmp_path / ".lora-ci.yml")
    told = refused(tmp_path / ".lora-ci.yml")
    assert told == f".lora-ci.yml: it is {kind}, not a regular file"


@pytest.mark.parametrize(("make", "kind"), KINDS)
def test_the_file_of_a_section_is_a_regular_file(tmp_path, make, kind):
    (tmp_path / ".lora-ci.yml").write_bytes(SMALL + b"    train: configs/a.toml\n")
    (tmp_path / "configs").mkdir()
    make(tmp_path / "configs" / "a.toml")
    told = refused(tmp_path / ".lora-ci.yml")
    assert told == f"configs/a.toml: it is {kind}, not a regular file"


def test_no_folder_on_the_way_is_a_link(tmp_path):
    (tmp_path / "repo").mkdir()
    (tmp_path / "a.toml").write_text("rank = 7")
    (tmp_path / "repo" / "configs").symlink_to(tmp_path)
    (tmp_path / "repo" / ".lora-ci.yml").write_bytes(SMALL + b"    train: configs/a.toml\n")
    assert "configs: it is a symbolic link" in refused(tmp_path / "repo" / ".lora-ci.yml")


def test_what_is_not_there_is_told(tmp_path):
    assert "there is no config" in refused(tmp_path / "nowhere" / ".lora-ci.yml")
    (tmp_path / ".lora-ci.yml").write_bytes(SMALL + b"    train: configs/a.toml\n")
    assert "configs/a.toml is not in this commit" in refused(tmp_path / ".lora-ci.yml")
    (tmp_path / ".lora-ci.yml").write_bytes(SMALL + b"    train: %s.toml\n" % (b"a" * 300))
    assert "is not in this commit" in refused(tmp_path / ".lora-ci.yml")


def test_the_folder_of_the_repository_may_be_reached_by_a_link(tmp_path):
    (tmp_path / "repo" / "configs").mkdir(parents=True)
    (tmp_path / "repo" / "configs" / "a.toml").write_text("rank = 7")
    (tmp_path / "repo" / ".lora-ci.yml").write_bytes(SMALL + b"    train: configs/a.toml\n")
    (tmp_path / "link").symlink_to("repo")
    assert read_config(tmp_path / "link" / ".lora-ci.yml").loras["mei"].train.rank == 7
