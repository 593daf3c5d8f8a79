"""Whatever is killed, each step is done once, its record is right and nothing is left running."""

import signal
import subprocess
import sys

import pytest

from lora_ci.core.step import Outcome
from lora_ci.steps.main import exec_step
from tests.execution.killing import REPOSITORY, Killing
from tests.execution.toy import TABLE
from tests.execution.toy_world import toy_world
from tests.ledgers import KINDS

pytestmark = pytest.mark.slow

DYING = (
    "import sys; from pathlib import Path; from tests.execution import toy;"
    "from tests.execution.killed_driver import die_at; die_at(int(sys.argv[1]));"
    "sys.exit(toy.main(*map(Path, sys.argv[2:])))"
)
# An execution of the step comes to fewer.
LINES, EVERY = 900, 12


@pytest.mark.parametrize("ledger_kind", KINDS, indirect=True)
def test_drivers_and_steps_that_are_killed_at_random_points(tmp_path, ledger_url):
    with toy_world(tmp_path, ledger_url) as world:
        killing = Killing(world, points=15, seed=7)
        killing.kill()
        killing.check()


def test_a_step_that_dies_at_any_line_leaves_nothing_that_hinders_the_next(tmp_path):
    with toy_world(tmp_path) as world:
        for line in range(1, LINES, EVERY):
            spec = world.spec("", line=line)
            folder = world.attempt(spec).folder
            places = map(str, (folder.path, world.store.root, tmp_path / "cache"))
            command = [sys.executable, "-c", DYING, str(line), *places]
            died = subprocess.run(command, cwd=REPOSITORY, check=False)
            if died.returncode == 0:
                break
            assert died.returncode == -signal.SIGKILL
            early = folder.read_result(spec.fingerprint)
            result = exec_step(folder, world.store, tmp_path / "cache", table=TABLE)
            assert early in (None, result)
            assert result.outcome is Outcome.PASSED
            assert world.store.get(result.artifacts[0].sha256).read_text() == "made"
        else:
            raise AssertionError("it never came to its end")
