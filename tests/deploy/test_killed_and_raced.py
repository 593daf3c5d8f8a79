"""Releases survive being killed at any file operation; of two racers neither is lost."""

import subprocess
import sys

import pytest

from lora_ci.deploy.channels import open_pointer
from tests.releases import TODAY, Team


@pytest.fixture
def team(tmp_path):
    return Team(tmp_path)


@pytest.mark.slow
def test_killed_at_every_file_operation_a_second_call_finishes(team):
    step = team.folder(team.spec("1.0.0"))
    command = [sys.executable, "-m", "tests.deploy.killed", str(team.root), str(step.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


def test_two_processes_racing_for_a_channel_lose_nothing(team):
    count = 60
    racers = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.deploy.racer", str(team.place), str(team.key_file),
             str(first), "2", str(count)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for first in (1, 2)
    ]  # fmt: skip
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("\n")
        racer.stdin.flush()
    given = [int(line) for racer in racers for line in racer.communicate(timeout=300)[0].split()]
    assert [racer.returncode for racer in racers] == [0, 0]
    assert sorted(given) == list(range(1, len(given) + 1))
    assert len(given) >= count
    data = team.store.read_channel("mei", "latest")
    pointer = open_pointer(data, "mei", "latest", team.signers, TODAY)
    assert (pointer.version, pointer.sequence) == (f"1.0.{2 * count}", len(given))
