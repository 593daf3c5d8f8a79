"""What every release store must hold."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lora_ci.core.errors import InputError, IntegrityError
from lora_ci.deploy.stores import FolderStore, check_name
from lora_ci.deploy.version import Version

STORES = [FolderStore]
ONE, TWO = Version(1, 0, 0), Version(1, 1, 0)


@dataclass
class Bench:
    store: FolderStore
    root: Path
    made: list[Path] = field(default_factory=list)

    def folder(self, **files: bytes) -> Path:
        folder = self.root / f"given-{len(self.made)}"
        folder.mkdir()
        self.made.append(folder)
        for name, data in files.items():
            (folder / name.replace("_", ".")).write_bytes(data)
        return folder

    def fetched(self, version: Version) -> dict[str, bytes]:
        into = self.root / "fetched"
        self.store.fetch("mei", version, into)
        return {p.name: p.read_bytes() for p in into.iterdir()}


@pytest.fixture(params=STORES, ids=[s.__name__ for s in STORES])
def bench(request, tmp_path):
    return Bench(request.param(tmp_path / "store"), tmp_path)


def test_what_is_published_comes_out(bench):
    assert bench.store.versions("mei") == ()
    assert bench.store.publish("mei", TWO, bench.folder(release_json=b"{}", a=b"2"))
    assert bench.store.publish("mei", ONE, bench.folder(release_json=b"{}", a=b"1"))
    assert bench.store.versions("mei") == (ONE, TWO)
    assert bench.store.versions("leo") == ()
    assert bench.fetched(ONE) == {"release.json": b"{}", "a": b"1"}
    assert bench.fetched(TWO) == {"release.json": b"{}", "a": b"2"}
    assert bench.store.manifest("mei", ONE) == b"{}"


def test_a_release_never_changes(bench):
    assert bench.store.publish("mei", ONE, bench.folder(a=b"1"))
    assert not bench.store.publish("mei", ONE, bench.folder(a=b"2", b=b""))
    assert bench.fetched(ONE) == {"a": b"1"}


def test_many_publishers_make_one_release(bench):
    folders = [bench.folder(a=bytes([i]), b=bytes([i])) for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda f: bench.store.publish("mei", ONE, f), folders))
    assert won.count(True) == 1
    winner = bytes([won.index(True)])
    assert bench.fetched(ONE) == {"a": winner, "b": winner}


def test_what_is_not_there_is_told_with_what_is(bench):
    bench.store.publish("mei", ONE, bench.folder(a=b"1"))
    for ask in (lambda: bench.fetched(TWO), lambda: bench.store.manifest("mei", TWO)):
        with pytest.raises(InputError, match=r"no release 1\.1\.0 of mei") as caught:
            ask()
        assert "1.0.0" in caught.value.findings[0].hint


def test_a_mark_stands_beside_the_release_and_can_be_replaced(bench):
    store = bench.store
    store.publish("mei", ONE, bench.folder(a=b"1"))
    assert store.read_yank("mei", ONE) is None
    for mark in (b"first", b"second"):
        store.yank("mei", ONE, mark)
    assert store.read_yank("mei", ONE) == b"second"
    assert store.read_yank("mei", TWO) is None
    assert bench.fetched(ONE) == {"a": b"1"}
    assert store.versions("mei") == (ONE,)


def test_a_channel_moves_only_from_what_was_seen(bench):
    store = bench.store
    assert store.read_channel("mei", "latest") is None
    assert not store.swap_channel("mei", "latest", b"other", b"1")
    assert store.swap_channel("mei", "latest", None, b"1")
    assert not store.swap_channel("mei", "latest", None, b"2")
    assert store.swap_channel("mei", "latest", b"1", b"2")
    assert store.read_channel("mei", "latest") == b"2"
    assert store.read_channel("mei", "next") is None


def test_no_swap_of_many_is_lost(bench):
    store = bench.store

    def count(_: int) -> int:
        tries = 0
        while True:
            tries += 1
            seen = store.read_channel("mei", "latest")
            if store.swap_channel("mei", "latest", seen, b"%d" % (int(seen or 0) + 1)):
                return tries

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(count, range(60)))
    assert store.read_channel("mei", "latest") == b"60"


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "A", "a" * 65, "a\n", ".lock"])
def test_names_that_lead_elsewhere_are_refused(bench, name):
    with pytest.raises(InputError, match="no name"):
        check_name(name)
    for ask in (
        lambda: bench.store.versions(name),
        lambda: bench.store.manifest(name, ONE),
        lambda: bench.store.fetch(name, ONE, bench.root / "x"),
        lambda: bench.store.publish(name, ONE, bench.root),
        lambda: bench.store.read_yank(name, ONE),
        lambda: bench.store.yank(name, ONE, b""),
        lambda: bench.store.read_channel(name, "latest"),
        lambda: bench.store.read_channel("mei", name),
        lambda: bench.store.swap_channel("mei", name, None, b""),
    ):
        with pytest.raises(InputError, match="no name"):
            ask()


def test_a_folder_that_holds_more_than_files_is_refused(bench):
    bench.store.publish("mei", ONE, bench.folder(a=b"1"))
    place = bench.store.root / "releases" / "mei" / "1.0.0"
    secret = bench.root / "secret"
    secret.write_bytes(b"secret")
    for make in (
        lambda: (place / "x").symlink_to(secret),
        lambda: os.mkfifo(place / "x"),
        lambda: (place / "x").symlink_to(bench.root),
    ):
        make()
        with pytest.raises(IntegrityError, match=r"^x: a "):
            bench.fetched(ONE)
        (place / "x").unlink()
    (place / "x").mkdir()
    (place / "x" / "y").write_bytes(b"")
    with pytest.raises(IntegrityError, match="x/y: a release holds no folders"):
        bench.fetched(ONE)
    (bench.store.root / "releases" / "mei" / "1.1.0").symlink_to(place)
    (bench.store.root / "releases" / "mei" / "junk").mkdir()
    assert bench.store.versions("mei") == (ONE,)
    with pytest.raises(InputError, match="no release"):
        bench.fetched(TWO)
