"""Every store gives out what was put, or says what is wrong."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lora_ci.core.errors import IntegrityError
from lora_ci.store.layered import LayeredStore
from lora_ci.store.local import LocalStore
from lora_ci.store.store import ArtifactStore


@dataclass
class FolderRemote:
    """Another machine's store; `asked` are the fetches."""

    store: LocalStore
    asked: list[str] = field(default_factory=list)

    def has(self, sha256: str) -> bool:
        return self.store.has(sha256)

    def fetch(self, sha256: str, store: ArtifactStore) -> None:
        self.asked.append(sha256)
        store.put(self.store.get(sha256))


def local(root: Path) -> LocalStore:
    return LocalStore(root / "objects")


def layered(root: Path) -> LayeredStore:
    return LayeredStore(local(root), (FolderRemote(LocalStore(root / "remote")),))


@pytest.fixture(params=[local, layered])
def store(request, tmp_path) -> ArtifactStore:
    return request.param(tmp_path)


def a_file(folder: Path, data: bytes) -> Path:
    path = folder / "given"
    path.write_bytes(data)
    return path


def test_what_is_put_comes_out(store, tmp_path):
    sha256 = store.put(a_file(tmp_path, b"bytes"))
    assert sha256 == hashlib.sha256(b"bytes").hexdigest()
    assert store.has(sha256)
    assert store.get(sha256).read_bytes() == b"bytes"
    assert store.put(a_file(tmp_path, b"bytes")) == sha256


def test_what_was_never_put_is_not_there(store):
    assert not store.has("0" * 64)
    with pytest.raises(IntegrityError, match="is not in"):
        store.get("0" * 64)


def test_what_was_changed_on_disk_is_refused(store, tmp_path):
    sha256 = store.put(a_file(tmp_path, b"bytes"))
    store.get(sha256).write_bytes(b"other")
    with pytest.raises(IntegrityError, match="was changed on disk"):
        store.get(sha256)
    store.put(a_file(tmp_path, b"bytes"))
    assert store.get(sha256).read_bytes() == b"bytes"
    assert not list(tmp_path.glob("**/put-*"))


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63])
def test_names_that_are_no_digest_are_refused(store, name):
    with pytest.raises(IntegrityError, match="no sha256"):
        store.has(name)
    with pytest.raises(IntegrityError, match="no sha256"):
        store.get(name)


def test_what_others_made_is_fetched_once(tmp_path):
    remote = FolderRemote(LocalStore(tmp_path / "remote"))
    sha256 = remote.store.put(a_file(tmp_path, b"bytes"))
    store = LayeredStore(local(tmp_path), (FolderRemote(LocalStore(tmp_path / "no")), remote))
    assert store.has(sha256)
    assert remote.asked == []
    for _ in range(2):
        assert store.get(sha256).read_bytes() == b"bytes"
    assert remote.asked == [sha256]


def test_what_is_damaged_here_is_fetched_again(tmp_path):
    remote = FolderRemote(LocalStore(tmp_path / "remote"))
    store = LayeredStore(local(tmp_path), (remote,))
    sha256 = store.put(remote.store.get(remote.store.put(a_file(tmp_path, b"bytes"))))
    store.get(sha256).write_bytes(b"other")
    assert store.get(sha256).read_bytes() == b"bytes"


def test_a_remote_that_gives_other_bytes_is_found_out(tmp_path):
    class Liar(FolderRemote):
        def fetch(self, sha256: str, store: ArtifactStore) -> None:
            store.put(a_file(tmp_path, b"other"))

    remote = Liar(LocalStore(tmp_path / "remote"))
    sha256 = remote.store.put(a_file(tmp_path, b"bytes"))
    with pytest.raises(IntegrityError):
        LayeredStore(local(tmp_path), (remote,)).get(sha256)
