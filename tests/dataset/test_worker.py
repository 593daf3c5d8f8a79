"""The decoding process: what happens to it happens to one file, and it never stays behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lora_ci.dataset import worker
from lora_ci.dataset.worker import measure_files
from tests.tiny_sd import write_dataset

SCRIPT = """\
import sys
from pathlib import Path
from lora_ci.core.settings import ValidateSettings
from lora_ci.dataset.validate import validate_folder
found = validate_folder(Path(sys.argv[1]), "mei", ValidateSettings(min_side=32, min_images=1))
print(found.failed, found.metrics["images"])
"""
WAITING = """\
import sys, time
from pathlib import Path
from lora_ci.dataset.worker import measure_files
paths = sorted(Path(sys.argv[1]).glob("*.png"))
measure_files(paths, 10**6, lambda done: (print(done, flush=True), time.sleep(600)))
"""


@pytest.fixture
def pictures(tmp_path) -> list[Path]:
    return sorted(write_dataset(tmp_path / "mei", images=4).glob("*.png"))


def children() -> list[int]:
    return children_of(os.getpid())


def children_of(pid: int) -> list[int]:
    """Of all its threads."""
    listed = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for text in listed for child in text.split()]


def test_a_decoder_that_dies_costs_the_file_it_was_at(pictures, monkeypatch):
    before = set(children())
    send = worker._send

    def kill_at_the_third(pipe, frame) -> None:
        if b"02.png" in frame:
            for pid in set(children()) - before:
                os.kill(pid, signal.SIGKILL)
        send(pipe, frame)

    monkeypatch.setattr(worker, "_send", kill_at_the_third)
    measured = measure_files(pictures, 10**6, lambda done: None)
    assert [m.path for m in measured] == pictures
    assert [[rule for rule, _ in m.problems] for m in measured] == [
        [],
        [],
        ["image.unreadable"],
        [],
    ]
    assert set(children()) == before


def test_a_plain_script_without_a_main_guard_may_validate(pictures, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), str(pictures[0].parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "False 4.0\n"


@pytest.mark.slow
def test_the_decoder_ends_with_a_parent_that_is_killed(pictures):
    command = [sys.executable, "-c", WAITING, str(pictures[0].parent)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "1\n"
    (child,) = children_of(parent.pid)
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{child}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
