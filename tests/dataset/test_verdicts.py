"""What was measured is kept by content: only what changed is decoded."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from lora_ci.core.settings import ValidateSettings
from lora_ci.dataset import verdicts
from lora_ci.dataset.validate import validate_folder
from lora_ci.dataset.verdicts import FILE, Verdicts
from tests.dataset.hostile import pictures

pytestmark = pytest.mark.slow

LONG_AGO_NS = 1_600_000_000 * 10**9


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "set"
    folder.mkdir()
    for i in range(12):
        write(folder / f"{i:02}.jpg", i)
    return folder


def write(path: Path, seed: int) -> None:
    path.write_bytes(pictures.jpeg(seed))
    os.utime(path, ns=(LONG_AGO_NS + seed, LONG_AGO_NS + seed))


def measured(folder: Path, cache: Path, **options) -> tuple[list[str], int]:
    """The sha256 of the pixels of each file, and how many were decoded."""
    database = Verdicts(cache)
    found = database.measure(
        sorted(folder.glob("*.jpg")), options.get("max_pixels", 10**7), lambda done: None
    )
    return [m.pixels for m in found], database.decoded


def test_only_what_changed_is_decoded(folder, tmp_path, monkeypatch):
    first, decoded = measured(folder, tmp_path)
    assert decoded == 12
    for i in (2, 5, 7):
        write(folder / f"{i:02}.jpg", 100 + i)
    read = []
    monkeypatch.setattr(
        verdicts, "read_file", lambda path: read.append(path) or Path(path).read_bytes()
    )
    second, decoded = measured(folder, tmp_path)
    assert decoded == 3
    assert len(read) == 3
    assert [i for i in range(12) if first[i] != second[i]] == [2, 5, 7]


def test_what_changed_a_moment_ago_is_read_again(folder, tmp_path):
    path = folder / "00.jpg"
    path.write_bytes(pictures.jpeg(50))
    measured(folder, tmp_path)
    status = path.stat()
    path.write_bytes(pictures.jpeg(51)[: status.st_size].ljust(status.st_size, b"\0"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert measured(folder, tmp_path)[1] == 1


def test_a_copy_and_a_new_name_are_not_decoded(folder, tmp_path):
    first, _ = measured(folder, tmp_path)
    shutil.copytree(folder, tmp_path / "copy")
    os.link(folder / "00.jpg", folder / "99.jpg")
    assert measured(tmp_path / "copy", tmp_path) == (first, 0)
    assert measured(folder, tmp_path) == ([*first, first[0]], 0)


def test_another_threshold_decodes_nothing_and_counts(folder, tmp_path, monkeypatch):
    def told(settings: ValidateSettings) -> set[str]:
        return {f.rule for f in validate_folder(folder, "x", settings, cache=tmp_path).findings}

    assert "image.too-small" not in told(ValidateSettings())
    monkeypatch.setattr(verdicts, "measure_files", lambda paths, *_: [] if not paths else 1 / 0)
    assert "image.too-small" in told(ValidateSettings(min_side=300))


@pytest.mark.parametrize("damage", ["garbage", "cut", "other tables", "torn row"])
def test_a_damaged_database_is_made_anew(folder, tmp_path, damage):
    first, _ = measured(folder, tmp_path)
    path = tmp_path / FILE
    match damage:
        case "garbage":
            path.write_bytes(b"no database" * 1000)
        case "cut":
            path.write_bytes(path.read_bytes()[:5000])
        case "other tables":
            path.unlink()
            with sqlite3.connect(path) as database:
                database.execute("CREATE TABLE verdicts (x)")
        case "torn row":
            with sqlite3.connect(path) as database:
                database.execute("UPDATE verdicts SET measured = x'93'")
    assert measured(folder, tmp_path)[0] == first
    assert measured(folder, tmp_path)[0] == first


def test_no_place_for_a_database_is_no_error(folder):
    assert measured(folder, Path("/proc/nowhere"))[1] == 12


def test_processes_share_a_database(folder, tmp_path):
    code = (
        "import sys; from pathlib import Path; from lora_ci.dataset.verdicts import Verdicts;"
        "v = Verdicts(Path(sys.argv[1]));"
        "print(len(v.measure([Path(p) for p in sys.argv[2:]], 10**7, lambda d: None)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path), *map(str, sorted(folder.glob("*.jpg")))]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate(timeout=120)[0] for process in running] == ["12\n"] * 4
    assert measured(folder, tmp_path)[1] == 0


def test_the_least_used_go_when_there_are_too_many(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(verdicts, "MAX_VERDICTS", 10)
    measured(folder, tmp_path)
    with sqlite3.connect(tmp_path / FILE) as database:
        assert database.execute("SELECT count(*) FROM verdicts").fetchone() == (9,)
        assert database.execute("SELECT count(*) FROM files").fetchone() == (9,)
