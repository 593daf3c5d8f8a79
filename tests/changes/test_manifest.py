"""Folder manifests of DVC: what is let in, and what is refused with a finding."""

import hashlib
import json
import unicodedata

import pytest

from lora_ci.changes.manifest import MAX_MANIFEST_BYTES, parse_manifest, read_manifest
from lora_ci.core.errors import InputError, IntegrityError

MEND = "next: dvc pull"
MD5 = "0" * 32


def manifest(*paths: str, md5: str = MD5) -> bytes:
    return json.dumps([{"md5": md5, "relpath": path} for path in paths]).encode()


def refused(data: bytes) -> InputError:
    with pytest.raises(InputError) as caught:
        parse_manifest(data, "x.dvc")
    assert all(finding.hint for finding in caught.value.findings)
    return caught.value


@pytest.mark.parametrize(
    "path",
    [
        *("/etc/passwd", "../x", "a/../../x", "a/..", "..", ".", "a/./b", "a//b", "a/", ""),
        *("a\\b", "C:x", "c:", "nul", "sub/CON.txt", "com1 .png", "a/LPT9/b"),
        *("a\x00b", "a\nb", "a\n", "\na", "a\x7fb", "a\x1b[31mb"),
    ],
)
@pytest.mark.parametrize("others", [(), ("b.png", "ü.png")])
def test_hostile_paths_are_refused(path, others):
    assert "not a plain path" in str(refused(manifest(path, *others)))


@pytest.mark.parametrize(
    "path", ["a.png", ".hidden", "a/..b/c", "...", "console.txt", "ab:c", "é/ü"]
)
def test_odd_but_plain_paths_are_let_in(path):
    assert [entry.path for entry in parse_manifest(manifest(path), "x.dvc")] == [path]


def test_every_hostile_path_is_told_up_to_ten():
    error = refused(manifest(*(f"../{i}" for i in range(30)), "good.png"))
    assert len(error.findings) == 11
    assert "20 more" in error.findings[-1].message


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a.png", "A.PNG"),
        ("straße", "STRASSE"),
        ("é", unicodedata.normalize("NFD", "é")),
    ],
)
def test_names_that_are_one_on_some_system_are_refused(one, other):
    error = refused(manifest(one, "b", other))
    assert "only in case or spelling" in str(error)
    assert len(error.findings) == 2


def test_a_file_that_is_there_twice_is_told_as_that():
    error = refused(manifest("a.png", "b", "a.png", "B"))
    assert [finding.message for finding in error.findings] == ["x.dvc: path 'a.png' is there twice"]


def test_a_name_that_is_a_file_and_a_folder_is_refused():
    assert "file and a folder" in str(refused(manifest("a", "a-b", "A/b/c")))
    assert "over 255 bytes" in str(refused(manifest("a/" + "ü" * 128)))


@pytest.mark.parametrize(
    "md5", ["", "0" * 31, "0" * 33, "G" * 32, "A" * 32, "ü" * 32, MD5 + ".dir"]
)
def test_what_is_no_md5_is_refused(md5):
    data = json.dumps([{"md5": MD5, "relpath": "a"}, {"md5": md5, "relpath": "b"}]).encode()
    assert "'b' has no md5" in str(refused(data))


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{}", b"[1]", b"null", b'[{"relpath": "a"}]', b"[" * 9**5, b'[{"etag": "a"}]'),
        *(b'[{"relpath": "a", "md5": 1}]', b'[{"relpath": "\xff", "md5": "a"}]', b"\xff\xfe"),
        b'[{"relpath": "\\ud800", "md5": "00000000000000000000000000000000"}]',
    ],
)
def test_what_is_no_manifest_is_refused(data):
    assert "x.dvc" in str(refused(data))


def test_more_files_than_the_limit_are_refused(monkeypatch):
    monkeypatch.setattr("lora_ci.changes.manifest.MAX_ENTRIES", 2)
    assert "3 files; at most 2" in str(refused(manifest("a", "b", "c")))


def test_two_gigabytes_are_refused_by_their_size_alone(tmp_path):
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(2 << 30)
    with pytest.raises(InputError, match=f"at most {MAX_MANIFEST_BYTES}"):
        read_manifest(huge, f"{MD5}.dir", "x.dvc", mend=MEND)


def test_bytes_that_are_not_those_of_the_name_are_refused(tmp_path):
    data = manifest("a.png")
    md5 = hashlib.md5(data).hexdigest()
    (tmp_path / "object").write_bytes(data)
    assert len(read_manifest(tmp_path / "object", f"{md5}.dir", "x.dvc", mend=MEND)) == 1
    (tmp_path / "object").write_bytes(data + b" ")
    with pytest.raises(IntegrityError, match=md5) as caught:
        read_manifest(tmp_path / "object", f"{md5}.dir", "x.dvc", mend=MEND)
    assert caught.value.findings[0].hint == MEND


def test_a_bad_manifest_of_the_past_can_be_compared_but_not_one_with_a_file_twice():
    assert len(parse_manifest(manifest("../a", "A", "a"), "x.dvc", past=True)) == 3
    with pytest.raises(InputError, match="twice"):
        parse_manifest(manifest("a", "a"), "x.dvc", past=True)


@pytest.mark.slow
def test_a_million_files_are_read(tmp_path):
    data = manifest(*(f"{i % 1000:03d}/{i:06d}.png" for i in range(1_000_000)))
    (tmp_path / "object").write_bytes(data)
    md5 = hashlib.md5(data).hexdigest()
    assert len(read_manifest(tmp_path / "object", f"{md5}.dir", "x.dvc", mend=MEND)) == 1_000_000
