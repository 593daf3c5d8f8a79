"""The id of a ruler tells what measures, not where it lies."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from lora_ci.core.settings import QaSettings
from lora_ci.core.step import StepInput
from lora_ci.qa.step import ruler_id
from tests.judged_world import World, bench_of

BASE = SimpleNamespace(device=torch.device("cpu"), dtype=torch.float32)


def id_of(settings=None, references="a"):
    spec = SimpleNamespace(inputs={"references": StepInput(content_id=references)})
    bench = bench_of(World())
    return ruler_id(spec, replace(bench, settings=settings or bench.settings), BASE)


@pytest.mark.parametrize(
    "moved",
    [
        {"references": "elsewhere"},
        {"compose_with": "elsewhere/ink.safetensors"},
        {"embedder": "path:/elsewhere/clip"},
        {"embedder_license": "MIT", "license_policy": "commercial"},
    ],
)
def test_what_lies_elsewhere_is_the_same_ruler(moved):
    assert id_of(QaSettings(**moved)) == id_of(QaSettings())


@pytest.mark.parametrize(
    "other",
    [{"seeds": 8}, {"steps": 9}, {"negative_prompt": "blurry"}, {"error": 0.1}, {"weight": 0.8}],
)
def test_what_measures_otherwise_is_another_ruler(other):
    assert id_of(QaSettings(**other)) != id_of(QaSettings())


def test_other_references_are_another_ruler():
    assert id_of(references="b") != id_of(references="a")
