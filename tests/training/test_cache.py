"""The cache gives back what was put in or nothing: damage, kills, a full disk, many writers."""

import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lora_ci.core.errors import machine_error
from lora_ci.store.cache import TORN_AFTER_S, prune, write_cached
from lora_ci.training.entries import SUFFIX, entry_path, read_entry, write_entry

TENSORS = {"latents": torch.arange(64.0).view(4, 4, 4), "pooled": torch.ones(3).bfloat16()}


def put(path: Path, tensors: dict[str, torch.Tensor] = TENSORS) -> Path:
    write_entry(path, tensors)
    return path


def same(found: dict[str, torch.Tensor] | None) -> bool:
    return found is not None and all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


def test_what_is_written_is_read(tmp_path):
    path = put(entry_path(tmp_path, "a", "b"))
    assert same(read_entry(path))
    assert entry_path(tmp_path, "a", "b") == path
    assert entry_path(tmp_path, "ab", "") != path
    assert read_entry(entry_path(tmp_path, "other")) is None
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_flipped_bit_anywhere_is_noticed(tmp_path):
    path = put(entry_path(tmp_path, "a"))
    whole = path.read_bytes()
    for place in [*range(0, len(whole), 7), len(whole) - 1]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        assert read_entry(path) is None
    write_entry(path, TENSORS)
    assert same(read_entry(path))


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 100, -1])
def test_a_cut_file_is_noticed(tmp_path, size):
    path = put(entry_path(tmp_path, "a"))
    path.write_bytes(path.read_bytes()[:size])
    assert read_entry(path) is None


def test_another_file_with_a_right_digest_is_none(tmp_path):
    path = tmp_path / f"x{SUFFIX}"
    write_cached(path, b"no tensors")
    assert read_entry(path) is None


def test_the_least_recently_used_go_first_and_what_is_used_stays(tmp_path):
    paths = [put(entry_path(tmp_path, str(i))) for i in range(6)]
    for age, path in enumerate(reversed(paths)):
        os.utime(path, (10_000 - age, 10_000 - age))
    size = paths[0].stat().st_size
    assert same(read_entry(paths[0]))
    assert prune([tmp_path], 3 * size, kept=[paths[1]]) == 3
    assert [path for path in paths if path.exists()] == [paths[0], paths[1], paths[5]]
    assert prune([tmp_path], 3 * size) == 0
    assert prune([tmp_path, tmp_path / "absent"], 0, kept=paths) == 0
    assert prune([tmp_path], 0) == 3


def test_what_somebody_else_owns_stays(tmp_path, monkeypatch):
    paths = [put(entry_path(tmp_path, str(i))) for i in range(3)]
    for age, path in enumerate(reversed(paths)):
        os.utime(path, (10_000 - age, 10_000 - age))
    unlink = Path.unlink

    def refused(path, missing_ok=False):
        if path == paths[0]:
            raise PermissionError(1, "Operation not permitted", str(path))
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", refused)
    assert prune([tmp_path], 2 * paths[0].stat().st_size) == 1
    assert [path.exists() for path in paths] == [True, False, True]


@pytest.fixture
def no_room() -> Iterator[None]:
    """Files may have 100 bytes: what is written beyond is refused by the kernel."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_refused_write_is_told_and_leaves_nothing(tmp_path, no_room):
    path = entry_path(tmp_path, "a")
    with pytest.raises(OSError, match="File too large") as told:
        write_entry(path, TENSORS)
    assert machine_error(told.value).findings[0].rule == "machine.disk-full"
    assert told.value.filename == str(path)
    assert list(path.parent.iterdir()) == []


def _write_for_ever(path: Path) -> None:
    while True:
        write_entry(path, TENSORS)


def test_many_writers_at_once_and_kills_leave_whole_entries(tmp_path):
    path = put(entry_path(tmp_path, "a"))
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_for_ever, args=(path,)) for _ in range(3)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(300):
            assert same(read_entry(path))
    finally:
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
        for writer in writers:
            writer.join(timeout=30)
    assert same(read_entry(path))
    # A kill may leave a file aside; it goes when it is surely nobody's any more.
    torn = path.with_name(f".{path.name}.1.1")
    torn.write_bytes(b"half")
    assert prune([tmp_path], 10**9) == 0
    assert torn.exists()
    old = time.time() - TORN_AFTER_S - 60
    for file in path.parent.glob(".*"):
        os.utime(file, (old, old))
    assert prune([tmp_path], 10**9) == 0
    assert [file.name for file in path.parent.iterdir()] == [path.name]
