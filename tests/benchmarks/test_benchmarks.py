"""The benchmarks run and say what they left out; how fast anything is, no test asserts."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_deciding_names_the_files_that_dvc_names():
    small = ("--files", "400", "--pointers", "12", "--many", "800", "--loras", "2", "--pairs", "1")
    printed = run("benchmarks.decide", *small)
    assert printed.count("| yes ") == 3
    assert "`lora-ci plan`, 2 LoRAs" in printed


def test_reading_records_finds_all_of_them():
    printed = run("benchmarks.records", "--records", "40", "--loras", "4", "--repeat", "1")
    assert "| find 20 " in printed
    assert "2 pushes of 20" in printed


def test_every_webhook_is_answered():
    printed = run("benchmarks.webhooks", "--rate", "20", "--seconds", "0.5", "--kib", "2")
    assert printed.count("| 20/s ") == 1
    assert printed.count("| 40/s ") == 2


def test_without_the_official_script_its_row_is_missing_and_that_is_said():
    printed = run("benchmarks.train_step", "--steps", "8", "--pairs", "1")
    assert "skipped: the official script; next: --script" in printed
    assert "| lora_ci" in printed
    assert "not measured" in printed
    assert "| official" not in printed
