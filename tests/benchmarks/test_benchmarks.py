"""The benchmarks run and say what they left out; how fast anything is, no test asserts."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.training import as_run, compare

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


def test_files_are_written_and_both_ways_to_resize_agree():
    printed = run("benchmarks.formats", "--megabytes", "12", "--shapes", "1", "--pairs", "1")
    assert "986 layers, rank 1" in printed
    assert "| 640×640 | 70 " in printed


def test_judging_again_makes_no_picture_and_a_second_adapter_only_its_own():
    printed = run("benchmarks.rejudging", "--share", "0.1", "--steps", "1", "--repeat", "1")
    rows = [[cell.strip() for cell in line.split("|")] for line in printed.splitlines()]
    made = {row[1]: row[2] for row in rows if len(row) > 4}
    assert made["first adapter"] == "24"
    assert made["second adapter of the base"] == "12"
    assert made["the first with another gate, 24 pictures kept"] == "0"


def test_memory_is_foretold_by_four_ways():
    printed = run("benchmarks.memory_needs", "--teams", "10")
    rows = [[cell.strip() for cell in line.split("|")] for line in printed.splitlines()]
    foretold = {(row[1], row[2]): row[3] for row in rows if len(row) > 4}
    assert len(foretold) == 2 + 4 * 3
    assert foretold["quantile regression", "2"] == "0%"
    assert foretold["least that asked for more", "20"] != "0%"


def test_without_the_official_scripts_their_side_is_missing_and_that_is_said():
    printed = run("benchmarks.training", "--worlds", "emoji", "--steps", "2", "--pairs", "1")
    assert "skipped: the official scripts; next: --scripts" in printed
    assert "| a step, s " in printed
    assert "| loss on held-out pictures (0." in printed
    assert printed.count("| not measured |") == 10


def test_a_run_of_another_number_of_steps_is_refused():
    record = {
        "ended_at": [1.0, 5.0, 6.0, 8.0],
        "cpu_s": [1.0, 3.0, 3.5, 4.0],
        "peak_mib": [5.0, 6.0, 6.0, 6.0],
    }
    record |= {"whole_mib": 7.0, "adapter": "adapter.safetensors"}
    told = as_run(record, Path("lora_ci-0/empty"), 4, 1, started=0.5, process_s=9.0)
    assert (told.step_s, told.step_cpu_s) == (1.5, 0.5)
    assert (told.first_s, told.first_cpu_s) == (0.5, 1.0)
    assert (told.peak_mib, told.whole_mib) == (6.0, 7.0)
    with pytest.raises(SystemExit, match="lora_ci-0: 4 steps recorded, not 5"):
        as_run(record, Path("lora_ci-0/empty"), 5, 1, started=0.5, process_s=9.0)


def test_a_ratio_is_of_its_pair():
    told = compare("a step, s", {"lora_ci": [1.0, 3.0], "official": [2.0, 4.0]}, ".1f", "0.65")
    assert told == ["a step, s", "2.0", "3.0", "0.62", "0.50–0.75", "≤ 0.65"]


def test_a_flood_of_steps_begins_in_fair_turns():
    small = ("--steps", "50", "--flood", "200", "--finished", "1000", "--ticks", "5")
    printed = run("benchmarks.queue", *small, "--repeat", "1")
    rows = [[cell.strip() for cell in line.split("|")] for line in printed.splitlines()]
    said = {row[1]: row[2] for row in rows if len(row) > 3}
    assert said["most turns that a repository was ahead"] == "1.00"
    assert {"200 steps begun, s", "100", "1,000"} <= said.keys()


def test_choosing_by_lazy_greedy_is_as_good_as_by_plain_greedy():
    printed = run("benchmarks.selection", "--share", "0.05", "--pairs", "1", "--plain")
    rows = [[cell.strip() for cell in line.split("|")] for line in printed.splitlines()]
    values = {(row[1], row[2]): row[5] for row in rows if len(row) > 6}
    for size in ("100 × 512, 5", "500 × 512, 25"):
        assert values[size, "plain greedy"] == "1.0000"
        assert float(values[size, "random"]) < 1
