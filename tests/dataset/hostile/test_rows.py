"""Each hostile file costs its finding; the good ones beside it are checked all the same."""

import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from lora_ci.core.finding import Finding
from lora_ci.core.settings import ValidateSettings
from lora_ci.dataset import decode, worker
from lora_ci.dataset.files import list_files, name_findings, shown
from lora_ci.dataset.validate import Validation, validate_folder
from tests.dataset.hostile import pictures
from tests.dataset.hostile.rows import NAMES, PLACES, ROWS

# Each process makes all files of the module anew.
pytestmark = pytest.mark.slow

# Not what the row is about: hostile pictures are copies of each other, have no captions and are
# no photographs.
QUALITY = ("blurred", "blocky", "noisy", "dark", "washed-out", "gray", "border")
OTHERS = ("caption.", "duplicate.", *(f"image.{rule}" for rule in QUALITY))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    for name, (make, _) in ROWS.items():
        (folder / name).write_bytes(make())
    for name, (make_at, _) in PLACES.items():
        make_at(folder / name)
    for name in NAMES:
        Path(os.fsdecode(os.fsencode(folder / "names") + b"/" + name)).parent.mkdir(exist_ok=True)
        with open(os.fsencode(folder / "names") + b"/" + name, "wb") as file:
            file.write(pictures.png(zlib.crc32(name) % 1000))
    with (folder / "good.txt").open("wb") as file:
        file.truncate(300_000_000)
    (folder / "good.png").write_bytes(pictures.png(20))
    return folder


@pytest.fixture(scope="module")
def validation(folder) -> Validation:
    return validate_folder(folder, "mei", ValidateSettings())


def told(validation: Validation, name: str) -> list[Finding]:
    """What is said of a file."""
    return [f for f in validation.findings if f.file == name and not f.rule.startswith(OTHERS)]


@pytest.mark.parametrize("name", [*ROWS, *PLACES])
def test_a_file_has_its_finding_and_no_other(validation, name):
    rule = {**ROWS, **PLACES}[name][1]
    assert [f.rule for f in told(validation, name)] == ([rule] if rule else [])


@pytest.mark.parametrize("name", NAMES)
def test_a_name_has_its_finding_and_is_shown_as_text(validation, name):
    written = shown(f"names/{os.fsdecode(name)}")
    assert written.encode().decode().isprintable()
    rule = NAMES[name]
    assert [f.rule for f in told(validation, written)] == ([rule] if rule else [])


def test_what_stands_beside_them_is_checked(validation):
    assert told(validation, "good.png") == []
    assert [f.rule for f in validation.findings if f.file == "good.txt"] == ["caption.too-large"]
    assert validation.metrics["images"] == len(ROWS) + len(PLACES) + len(NAMES) + 1


def test_no_decoder_takes_more_than_a_gibibyte(folder):
    code = (
        "import resource, sys; from pathlib import Path;"
        "from lora_ci.dataset.worker import measure_files;"
        "measure_files([Path(p) for p in sys.argv[1:]], 64_000_000, lambda done: None);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    large = [str(folder / name) for name in ("huge.png", "lying-in-bounds.jpg", "text-bomb.png")]
    done = subprocess.run([sys.executable, "-c", code, *large], capture_output=True, check=True)
    assert int(done.stdout) * 1024 < 2**30


def test_the_upright_size_counts_and_deep_pixels_are_scaled(folder):
    turned = decode.measure(folder / "turned.jpg", 10**6)
    assert (turned.width, turned.height) == (128, 256)
    for name in ("16-bit-gray.png", "16-bit.png"):
        figures = decode.measure(folder / name, 10**6).figures
        assert 60 < figures.dark < 250
        assert figures.washed < 0.1


def test_a_file_that_is_written_while_it_is_read_is_told(tmp_path, monkeypatch):
    path = tmp_path / "a.jpg"
    path.write_bytes(pictures.jpeg())
    status = os.fstat

    def write_on(handle: int) -> os.stat_result:
        before = status(handle)
        with path.open("ab") as file:
            file.write(b"more")
        return before

    monkeypatch.setattr(decode.os, "fstat", write_on)
    assert decode.measure(path, 10**6).problems[0][0] == "image.changed"


def test_a_decoder_that_hangs_costs_its_file(tmp_path, monkeypatch):
    paths = [tmp_path / f"{i}.jpg" for i in range(3)]
    for i, path in enumerate(paths):
        path.write_bytes(pictures.jpeg(i))
    send = worker._send

    def stop_at_the_second(pipe, frame) -> None:
        if b"1.jpg" in frame:
            for listed in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
                for pid in listed.read_text().split():
                    if b"dataset.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        os.kill(int(pid), 19)
            pipe.settimeout(0.5)
        send(pipe, frame)

    monkeypatch.setattr(worker, "_send", stop_at_the_second)
    measured = worker.measure_files(paths, 10**6, lambda done: None)
    assert [dict(m.problems).keys() for m in measured] == [set(), {"image.timeout"}, set()]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what others cannot read")
def test_what_may_not_be_read_is_told(tmp_path):
    (tmp_path / "a.jpg").write_bytes(pictures.jpeg())
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.jpg").chmod(0)
    (tmp_path / "closed").chmod(0)
    os.seteuid(65534)
    try:
        listing = list_files(tmp_path)
        measured = decode.measure(tmp_path / "a.jpg", 10**6)
    finally:
        os.seteuid(0)
    assert measured.problems[0][0] == "image.unreadable"
    assert [f.rule for f in name_findings(listing)] == ["path.unreadable"]


def test_ten_thousand_files_in_one_folder(tmp_path):
    for i in range(10_000):
        (tmp_path / f"{i}.txt").touch()
    (tmp_path / "a.png").write_bytes(pictures.png())
    listing = list_files(tmp_path)
    assert len(listing.names) == 10_001
    assert name_findings(listing) == []
    assert listing.images == ["a.png"]
