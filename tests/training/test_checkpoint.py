"""Only checkpoints of this very training, in this format, are gone on from."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lora_ci.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


@pytest.fixture
def folder(tmp_path):
    for step in (10, 20):
        tensors = {"weight/a": torch.full((2,), float(step))}
        save_checkpoint(
            tmp_path, "f1", Checkpoint(step=step, losses=[], window=[0.5], tensors=tensors)
        )
    return tmp_path


def test_the_newest_is_taken(folder):
    found = load_checkpoint(folder, "f1")
    assert (found.step, found.window, found.tensors["weight/a"].tolist()) == (20, [0.5], [20, 20])
    assert load_checkpoint(folder, "f2") is None


@pytest.mark.parametrize("other", ["0", "2", None])
def test_one_of_another_format_is_passed_over(folder, other):
    path = max(folder.iterdir())
    with safe_open(path, framework="pt") as file:
        metadata = {**file.metadata(), "format": other, "losses": json.dumps("of another shape")}
    known = {name: value for name, value in metadata.items() if value is not None}
    save_file({"moved": torch.zeros(1)}, path, known)
    assert load_checkpoint(folder, "f1").step == 10
