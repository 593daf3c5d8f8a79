"""The contract test says what does not fit, and what looks odd."""

from dataclasses import replace

import pytest
import torch

from lora_ci.core.finding import Severity
from lora_ci.formats.adapter import Adapter
from lora_ci.formats.contract import check_adapter
from tests.formats.made import Q, V, random_adapter, small

SHAPES = {Q: (6, 4), V: (6, 8)}


def rules(adapter, shapes=None, family=None):
    return {
        (f.rule.removeprefix("adapter."), f.severity)
        for f in check_adapter(adapter, shapes, family)
    }


def test_a_fitting_adapter_has_no_findings():
    for adapter in (small(), small(dora=True)):
        assert rules(adapter, SHAPES, "sd1") == set()
        assert rules(adapter) == set()


def test_a_component_that_the_base_lacks_is_named_once():
    adapter = random_adapter(
        {f"text_encoder_2.encoder.layers.{i}.mlp.fc1": (8, 4) for i in range(3)}, family="sdxl"
    )
    (finding,) = check_adapter(adapter, SHAPES)
    assert finding.rule == "adapter.unknown-component"
    assert "text_encoder_2" in finding.message


def test_of_many_findings_the_first_are_told():
    shapes = {f"unet.down_blocks.{i}.attentions.0.proj_in": (4, 4) for i in range(9)}
    found = check_adapter(random_adapter(shapes), dict.fromkeys(shapes, (5, 5)))
    assert len(found) == 6
    assert {f.rule for f in found} == {"adapter.shape"}
    assert found[-1].message == "… and 4 more such layers"
    assert [bool(f.hint) for f in found] == [True, *[False] * 5]
    assert len(check_adapter(random_adapter(shapes), {"unet.other": (5, 5)})) == 6


def test_layers_that_are_missing_are_a_warning():
    other = Q.replace("blocks.1", "blocks.0")
    assert rules(small(), {**SHAPES, other: (6, 4)}) == {("missing-modules", Severity.WARNING)}
    # Another kind is nothing that it teaches.
    assert rules(small(), {**SHAPES, Q.replace("to_q", "to_k"): (6, 4)}) == set()


def test_layers_of_zeros_are_a_warning_and_all_of_them_an_error():
    adapter = small()
    idle = replace(adapter.layers[Q], up=torch.zeros(6, 2))
    some = replace(adapter, layers={**adapter.layers, Q: idle})
    assert rules(some) == {("zero-layers", Severity.WARNING)}
    assert rules(replace(adapter, layers={Q: idle})) == {("no-effect", Severity.ERROR)}
    assert rules(Adapter(layers={})) == {("no-effect", Severity.ERROR)}
    sized = replace(idle, magnitude=torch.ones(6))
    assert rules(replace(adapter, layers={Q: sized})) == set()


@pytest.mark.parametrize(
    ("metadata", "family", "found"),
    [
        ({}, "sdxl", set()),
        ({"ss_base_model_version": "sd_v1"}, "sd1", set()),
        ({"modelspec.architecture": "flux-1-dev/lora"}, None, {("family", Severity.WARNING)}),
        ({"ss_base_model_version": "sd_v1"}, "sd2", {("family", Severity.WARNING)}),
    ],
)
def test_what_the_file_says_is_compared(metadata, family, found):
    assert rules(small(metadata=metadata), SHAPES, family) == found


def test_dora_sizes_of_another_number_are_an_error():
    layer = replace(small().layers[Q], magnitude=torch.ones(5))
    assert rules(Adapter(layers={Q: layer}), {Q: (6, 4)}) == {("dora-sizes", Severity.ERROR)}
    bad = replace(layer, magnitude=torch.full((6,), float("nan")), alpha=0.0)
    assert rules(Adapter(layers={Q: bad})) == {
        ("not-finite", Severity.ERROR),
        ("alpha", Severity.ERROR),
    }
