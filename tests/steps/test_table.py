"""Loading a stage leaves the process as it was."""

import gc

import pytest

from lora_ci.core.step import Stage
from lora_ci.steps.table import load


@pytest.mark.parametrize("place", ["lora_ci.nowhere:run", "lora_ci.steps.table:nothing"])
def test_what_fails_to_load_leaves_the_collector_on(place):
    assert gc.isenabled()
    with pytest.raises((ImportError, AttributeError)):
        load(Stage.TRAIN, {Stage.TRAIN: place})
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off():
    gc.disable()
    try:
        assert load(Stage.TRAIN, {Stage.TRAIN: "lora_ci.steps.table:load"}) is load
        assert not gc.isenabled()
    finally:
        gc.enable()
