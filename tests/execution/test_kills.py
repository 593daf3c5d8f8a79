"""Whatever is killed, each step is done once, its record is right and nothing is left running."""

import pytest

from tests.execution.killing import Killing
from tests.execution.toy_world import toy_world
from tests.ledgers import KINDS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("ledger_kind", KINDS, indirect=True)
def test_drivers_and_steps_that_are_killed_at_random_points(tmp_path, ledger_url):
    with toy_world(tmp_path, ledger_url) as world:
        killing = Killing(world, points=15, seed=7)
        killing.kill()
        killing.check()
