"""A file's header tells whether it is an adapter, without torch."""

import struct
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from lora_ci.core.errors import InputError
from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.formats.layout import check_layout, read_layout
from lora_ci.formats.write import Format, write_adapter
from tests.formats.made import small

LAYER = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"


@pytest.mark.parametrize("kind", Format)
def test_the_layers_of_an_export_are_counted(tmp_path, kind):
    layer = LoraLayer(down=torch.ones(2, 4), up=torch.ones(6, 2), alpha=2.0)
    adapter = Adapter(layers={LAYER: layer, LAYER.replace("to_q", "to_v"): layer})
    path = tmp_path / "a.safetensors"
    write_adapter(adapter, path, kind)
    assert check_layout(path) == 2
    assert (2, 4) in read_layout(path).shapes.values()
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"torn\.safetensors"):
        check_layout(torn)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"lora_A": (2, 4), "lora_B": (4, 3)}, "do not fit"),
        ({"lora_A": (2, 4)}, "do not fit"),
        ({"lora_A": (2, 4), "lora_B": (4, 2, 1, 1)}, "do not fit"),
        ({"oft_R": (2, 4)}, "OFT"),
        ({}, "no LoRA layer"),
    ],
)
def test_halves_that_are_no_adapter_are_refused(tmp_path, shapes, words):
    path = tmp_path / "x.safetensors"
    save_file({f"{LAYER}.{n}.weight": torch.ones(*s) for n, s in shapes.items()}, path)
    with pytest.raises(InputError, match=words):
        check_layout(path)


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_read_or_refused(tmp_path_factory, data, framed):
    path = tmp_path_factory.getbasetemp() / "any-layout.safetensors"
    path.write_bytes(struct.pack("<Q", len(data)) + data if framed else data)
    with pytest.raises(InputError):
        check_layout(path)


@pytest.mark.parametrize("length", [640, 896, 1152, 0x010380])
def test_a_headers_length_is_no_pickle(tmp_path, length):
    path = tmp_path / "a.safetensors"
    entry = '{"x":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}'
    path.write_bytes(struct.pack("<Q", length) + entry.ljust(length).encode() + b"1234")
    assert read_layout(path).shapes == {"x": ()}


def test_looking_loads_no_torch(tmp_path):
    path = tmp_path / "a.safetensors"
    write_adapter(small(), path, Format.KOHYA)
    code = (
        "import sys; from lora_ci.cli.main import main; main(['formats', 'inspect', sys.argv[1]]);"
        "print({'torch', 'numpy', 'safetensors'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0].startswith("file       a.safetensors")
    assert done.stdout.splitlines()[-1] == "set()"
