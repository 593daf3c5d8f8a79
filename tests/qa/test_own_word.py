"""A file that breaks its own word is told before any picture."""

from dataclasses import replace

import pytest
import torch

from lora_ci.core.finding import Severity
from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.formats.write import Format, write_adapter
from lora_ci.qa.contract import check_file


@pytest.fixture
def adapter():
    name = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    draw = torch.Generator().manual_seed(0)
    layer = LoraLayer(
        down=torch.randn(4, 64, generator=draw), up=torch.randn(64, 4, generator=draw), alpha=4.0
    )
    metadata = {"modelspec.trigger_phrase": "mei", "modelspec.title": "mei"}
    return Adapter(layers={name: layer}, metadata=metadata)


def test_a_file_that_keeps_its_word(adapter, tmp_path):
    path = tmp_path / "mei.safetensors"
    write_adapter(adapter, path, Format.DIFFUSERS)
    assert check_file(path, "mei") == []
    assert check_file(path, None) == []


def test_another_trigger_than_the_one_it_names(adapter, tmp_path):
    path = tmp_path / "mei.safetensors"
    write_adapter(adapter, path, Format.DIFFUSERS)
    (finding,) = check_file(path, "ink")
    assert (finding.rule, finding.severity) == ("adapter.trigger", Severity.ERROR)
    assert "`mei`" in finding.message
    assert "`ink`" in finding.message


@pytest.mark.parametrize(
    ("named", "trigger", "fits"),
    [
        ("meilin", "mei", False),
        ("old mei_style", "mei", False),
        ("mei, portrait", "mei", True),
        ("Mei", "mei", True),
        ("<mei>", "<mei>", True),
        ("photo of a.b", "a.b", True),
        ("photo of axb", "a.b", False),
    ],
)
def test_a_trigger_is_a_word_of_its_own(adapter, tmp_path, named, trigger, fits):
    path = tmp_path / "one.safetensors"
    metadata = {**adapter.metadata, "modelspec.trigger_phrase": named}
    write_adapter(replace(adapter, metadata=metadata), path, Format.DIFFUSERS)
    assert (check_file(path, trigger) == []) is fits


def test_a_file_that_names_no_trigger_may_have_any(adapter, tmp_path):
    path = tmp_path / "mei.safetensors"
    write_adapter(replace(adapter, metadata={}), path, Format.DIFFUSERS)
    assert check_file(path, "ink") == []


def test_flipped_bits_are_not_those_of_its_digest(adapter, tmp_path):
    path = tmp_path / "mei.safetensors"
    write_adapter(adapter, path, Format.DIFFUSERS)
    data = bytearray(path.read_bytes())
    data[-5] ^= 0x10
    path.write_bytes(data)
    (finding,) = check_file(path, "mei")
    assert (finding.rule, finding.severity) == ("adapter.digest", Severity.WARNING)
