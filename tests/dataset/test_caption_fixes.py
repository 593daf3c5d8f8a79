"""Mending changes no word, leaves what it cannot mend, and writes each file in one moment."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ci.core.errors import InputError
from lora_ci.dataset.caption_fixes import find_fixes, mended
from tests.command import lora_ci

MENDED = {
    b"\xef\xbb\xbfa mei vase": b"a mei vase",
    b"a mei vase \t\r\n": b"a mei vase\n",
    b"  a mei vase": b"a mei vase",
    b"a mei vase\r\nby day\r\n\r\n": b"a mei vase\nby day\n",
    b"a mei  vase, mei": b"a mei  vase, mei",
    b"a mei vase\n": b"a mei vase\n",
    "a mei\u00a0vase\u2003".encode(): "a mei\u00a0vase\u2003".encode(),
}


@pytest.mark.parametrize(("before", "after"), MENDED.items())
def test_what_is_mended(before, after):
    assert mended(before) == after


@pytest.mark.parametrize(
    "data", [b"", b" \r\n", b"\xef\xbb\xbf", b"caf\xe9 ", b"a\0 ", b"\xff\xfea\0"]
)
def test_what_is_left_to_a_person(data):
    assert mended(data) is None


def words(data: bytes) -> list[str]:
    return data.decode().replace("\ufeff", " ").split()


@given(st.binary(max_size=60) | st.text("a \t\r\n\ufeffé", max_size=40).map(str.encode))
def test_mending_keeps_every_word_and_is_done_once(data):
    after = mended(data)
    if after is not None:
        assert words(after) == words(data)
        assert mended(after) == after


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "a.png").touch()
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfa mei vase \r\nby day")
    (tmp_path / "b.png").touch()
    (tmp_path / "b.txt").write_bytes(b"a mei cup\n")
    (tmp_path / "readme.txt").write_bytes(b"not a caption \r\n")
    return tmp_path


def test_a_diff_shows_what_cannot_be_seen(folder):
    (fix,) = find_fixes(folder, ["a.png", "b.png"], os.listdir(folder))
    assert fix.diff().split("\n")[2:] == [
        "@@ -1 +1 @@",
        "-\\ufeffa mei vase \\r",
        "+a mei vase",
    ]


def test_a_dvc_cache_that_shares_the_bytes_keeps_its_own(folder):
    (folder / "a.txt").chmod(0o444)
    (folder / "cached").hardlink_to(folder / "a.txt")
    (fix,) = find_fixes(folder, ["a.png"], os.listdir(folder))
    fix.write(folder)
    assert (folder / "a.txt").read_bytes() == b"a mei vase\nby day"
    assert (folder / "cached").read_bytes() == fix.before
    assert stat.S_IMODE((folder / "a.txt").stat().st_mode) == 0o644
    assert not list(folder.glob(".mended-*"))


def test_a_file_that_changed_meanwhile_is_left(folder):
    (fix,) = find_fixes(folder, ["a.png"], os.listdir(folder))
    (folder / "a.txt").write_text("a person wrote this")
    with pytest.raises(InputError, match=r"a\.txt changed"):
        fix.write(folder)
    assert (folder / "a.txt").read_text() == "a person wrote this"


def test_the_command_shows_and_then_mends(folder):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    told = lora_ci(folder, "dataset", "validate", ".", "--trigger", "mei", "--fix", "--dry-run")
    assert "+a mei vase" in told.err
    assert "captions that would be mended: 1" in told.err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    told = lora_ci(folder, "dataset", "validate", ".", "--trigger", "mei", "--fix")
    assert "captions mended: 1" in told.err
    assert "caption.bom" not in told.err
    changed = {path.name for path in folder.iterdir() if path.read_bytes() != before[path.name]}
    assert changed == {"a.txt"}


def test_dry_run_alone_is_refused(folder):
    assert lora_ci(folder, "dataset", "validate", ".", "--dry-run").code == 2
