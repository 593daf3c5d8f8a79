"""Identity's 95 % intervals hold the truth in 93 to 97 of 100 cases, whatever is little."""

import math

import pytest

from tests.ruler.gaussian_world import GaussianWorld, coverage

RUNS = 400
LUCK = 2.6 * math.sqrt(0.95 * 0.05 / RUNS)
WORLDS = {
    "usual": GaussianWorld(),
    "as the real thing": GaussianWorld(reached=1.0),
    "poor": GaussianWorld(reached=0.2),
    "drawing something else besides": GaussianWorld(aside=2.0),
    "hardly told apart": GaussianWorld(gap=2.5),
}


def test_intervals_cover_and_miss_on_both_sides():
    found = coverage(GaussianWorld(), 300, prompts=8, seeds=2, references=12)
    assert found.judged > 0.95
    assert 0.92 <= found.held <= 0.98
    assert max(found.above, found.below) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS.values(), ids=WORLDS)
@pytest.mark.parametrize(("prompts", "seeds", "references"), [(4, 4, 24), (8, 2, 5), (12, 4, 12)])
def test_intervals_cover_in_every_world(world, prompts, seeds, references):
    found = coverage(world, RUNS, prompts=prompts, seeds=seeds, references=references)
    luck = LUCK / math.sqrt(found.judged)
    assert 0.93 - luck <= found.held <= 0.97 + luck
