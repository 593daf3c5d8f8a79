"""Artifacts come out as they went in, or an error says so."""

import hashlib

import pytest

from lora_ci.core.errors import IntegrityError
from lora_ci.store.local import LocalStore


def test_what_is_put_comes_out(tmp_path):
    (tmp_path / "x").write_bytes(b"bytes")
    store = LocalStore(tmp_path / "objects")
    sha256 = store.put(tmp_path / "x")
    assert sha256 == hashlib.sha256(b"bytes").hexdigest()
    assert store.get(sha256).read_bytes() == b"bytes"
    assert store.put(tmp_path / "x") == sha256
    assert not list(store.root.glob("put-*"))


def test_a_poisoned_object_is_refused_and_a_new_put_repairs_it(tmp_path):
    (tmp_path / "x").write_bytes(b"bytes")
    store = LocalStore(tmp_path / "objects")
    sha256 = store.put(tmp_path / "x")
    store.get(sha256).write_bytes(b"other")
    with pytest.raises(IntegrityError, match="was changed on disk"):
        store.get(sha256)
    store.put(tmp_path / "x")
    assert store.get(sha256).read_bytes() == b"bytes"


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63])
def test_names_that_are_no_digest_are_refused(tmp_path, name):
    with pytest.raises(IntegrityError, match="no sha256"):
        LocalStore(tmp_path).get(name)


def test_an_unknown_digest_says_what_to_do(tmp_path):
    with pytest.raises(IntegrityError, match="is not in"):
        LocalStore(tmp_path).get("0" * 64)
