"""`train.shards`: what cannot be trained in parts or merged is told at its line."""

import pytest

from lora_ci.config.load import load_config
from lora_ci.config.shards import MAX_RANK
from lora_ci.formats import read
from tests.config.told import SMALL, errors

LONG = b"m" * 50


@pytest.mark.parametrize(
    ("train", "told"),
    [
        (
            b"{shards: 2, backend: sd-scripts, backend_folder: /opt/k}",
            "6:21 `shards`: sd-scripts trains on the whole dataset",
        ),
        (b"{shards: 2, method: dora}", "6:21 `shards: 2`: what DoRA adapters do cannot be added"),
        (b"{shards: 64, rank: 65}", "6:21 `shards: 64`: ranks of 65 add up to 4160"),
        (b"{shards: 5, ranks: {attn2: 1000}}", "6:21 `shards: 5`: ranks of 1000 add up to 5000"),
        (b"{shards: 0}", "6:21 `loras.mei.train.shards`"),
        (b"{shards: 65}", "6:21 `loras.mei.train.shards`"),
        (b"{shards: many}", "6:21 `loras.mei.train.shards`"),
    ],
)
def test_what_cannot_be_in_shards(train, told):
    (error,) = errors(SMALL + b"    train: " + train + b"\n")
    assert told in error


def test_what_can_be():
    for train in (b"{shards: 64, rank: 64}", b"{shards: 1, method: dora}", b"{shards: 3}"):
        load_config(SMALL + b"    train: " + train + b"\n")
    assert MAX_RANK == read.MAX_RANK


def test_names_that_shards_have_are_no_lora_s():
    (error,) = errors(SMALL.replace(b"mei:", b"mei.shard-1-of-3:"))
    assert "3:3 `mei.shard-1-of-3` is what the shard of a LoRA is called" in error
    load_config(SMALL.replace(b"mei:", b"mei.shard-1:"))


def test_a_name_must_leave_room_for_its_shards():
    text = SMALL.replace(b"mei:", LONG + b":")
    load_config(text + b"    train: {shards: 9}\n")
    (error,) = errors(text + b"    train: {shards: 10}\n")
    assert "6:21 `shards: 10`: the name" in error


def test_a_matrix_of_shards_says_once_which_value_is_wrong():
    text = SMALL + b"    train: {method: dora}\n    matrix: {train.shards: [1, 2]}\n"
    (error,) = errors(text)
    assert "7:32 `shards: 2`: what DoRA" in error
