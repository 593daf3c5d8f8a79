"""The story that the README promises, told once from start to end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TIMEOUT_S = 1500


@pytest.mark.slow
def test_every_chapter_ends_as_it_should(tmp_path):
    folder = tmp_path / "demo"
    told = subprocess.run(
        [sys.executable, "-m", "lora_ci", "demo", "--quiet", "--json", "--folder", str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr[-4000:]
    story = json.loads(told.stdout)
    assert len(story["chapters"]) == 7
    assert all(chapter["as_expected"] for chapter in story["chapters"])
    for address in story["reports"].values():
        assert Path(address).stat().st_size > 1000
    comment = Path(story["reports"]["comment 3"]).read_text()
    assert "failed" in comment.splitlines()[1]
    assert "v1.0.0" in comment or "1.0.0" in comment


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    told = subprocess.run(
        [sys.executable, "-m", "lora_ci", "demo", "--folder", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert told.returncode == 2
    assert "is not empty" in told.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
