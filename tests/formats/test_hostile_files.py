"""Files that are no adapters are refused with the reason."""

import contextlib
import json
import os
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from lora_ci.core.errors import InputError
from lora_ci.formats.family import SD1
from lora_ci.formats.inspection import inspect_file
from lora_ci.formats.keys import kohya_module, split_key
from lora_ci.formats.layout import read_layout
from lora_ci.formats.read import read_adapter

LAYER = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
GOOD = {f"{LAYER}.lora_A.weight": torch.ones(2, 4), f"{LAYER}.lora_B.weight": torch.ones(4, 2)}


def header(value: object) -> bytes:
    text = json.dumps(value).encode()
    return len(text).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a safetensors"),
        (b"\xff" * 8, "not a safetensors"),
        ((2**62).to_bytes(8, "little") + b"{}", "not a safetensors"),
        (b"PK\x03\x04" + b"x" * 99, "pickle"),
        (pickle.dumps({"a": 1}), "pickle"),
        (
            header({"x": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}),
            "safetensors header|does not lie|tensors, the header",
        ),
        (header({}), "no LoRA layer"),
        (header([]), "safetensors header|does not lie|tensors, the header"),
    ],
)
def test_bytes_that_are_no_adapter(tmp_path, data, words):
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(InputError, match=words):
        read_adapter(path)


@pytest.mark.parametrize("read", [read_adapter, read_layout])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, read):
    path = tmp_path / "x.safetensors"
    os.mkfifo(path)
    with pytest.raises(InputError, match="no regular file"):
        read(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({f"{LAYER}.lora_A.weight": torch.full((2, 4), float("nan"))}, "NaN"),
        ({f"{LAYER}.lora_A.weight": torch.ones(3, 4)}, "do not fit"),
        ({f"{LAYER}.lora_magnitude_vector": torch.ones(3)}, "3 DoRA sizes for 4 rows"),
        ({f"{LAYER}.lora_magnitude_vector": torch.full((4,), float("inf"))}, "NaN or infinite"),
        ({f"{LAYER}.alpha": torch.ones(2)}, "alpha is not one number"),
        ({f"{LAYER}.lora_B.bias": torch.ones(4)}, "LoRA with a bias"),
        ({f"{LAYER}.boft_R.weight": torch.ones(4)}, "BOFT"),
        ({"lora_unet_x.hada_w1_a": torch.ones(4)}, "LoHa"),
        ({"lora_unet_x.lokr_w1": torch.ones(4)}, "LoKr"),
        ({"lora_unet_x.oft_blocks": torch.ones(4)}, "OFT or BOFT"),
        ({"lora_unet_x.on_input": torch.ones(4)}, "IA3"),
        ({"lora_unet_x.diff": torch.ones(4)}, "full difference"),
        ({"lora_unet_x.diff_b": torch.ones(4)}, "full difference"),
        ({"lora_unet_x.b1.weight": torch.ones(4)}, "GLoRA"),
        ({"lora_unet_x.up_list.0": torch.ones(4)}, "DyLoRA"),
        ({"lora_unet_x.lora_mid.weight": torch.ones(4)}, "Tucker"),
        ({"lora_unet_x.w_norm": torch.ones(4)}, "trained norms"),
        ({"te.weird": torch.ones(4)}, "unknown tensor"),
    ],
)
def test_tensors_that_are_no_lora(tmp_path, change, words):
    save_file({**GOOD, **change}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=words):
        read_adapter(tmp_path / "x.safetensors")


def test_what_is_broken_says_what_to_do(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({**GOOD, f"{LAYER}.lora_A.weight": torch.full((2, 4), float("nan"))}, path)
    with pytest.raises(InputError) as nan:
        read_adapter(path)
    assert "a lower learning rate" in nan.value.findings[0].hint
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="the header says") as cut:
        read_adapter(path)
    assert "copy or save it anew" in cut.value.findings[0].hint


def test_a_layer_without_its_other_half(tmp_path):
    save_file({f"{LAYER}.lora_A.weight": torch.ones(2, 4)}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="no `up` tensor"):
        read_adapter(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    "path",
    [
        "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
        "up_blocks.2.attentions.1.transformer_blocks.0.attn2.to_out.0",
        "mid_block.attentions.0.transformer_blocks.0.attn2.to_v",
        "down_blocks.0.resnets.1.time_emb_proj",
        "up_blocks.0.attentions.0.proj_in",
        "time_embedding.linear_1",
    ],
)
def test_kohya_names_lead_back_to_the_module(path):
    key = f"{kohya_module(f'unet.{path}', SD1)}.lora_up.weight"
    assert split_key(key, "x") == (f"unet.{path}", "up")


@pytest.mark.parametrize(
    "config",
    [
        {"unet.lora_alpha": "8"},
        {"unet.lora_alpha": True},
        {"unet.lora_alpha": 10**400},
        {"unet.lora_alpha": 8, "unet.alpha_pattern": {".*attn1(a+)+$": 4}},
        {"unet.alpha_pattern": {"attn1.to_q": None, "": 3}},
        {"unet.use_rslora": True, "unet.lora_alpha": [1]},
    ],
)
def test_scales_that_are_not_clear_are_refused(tmp_path, config):
    metadata = {"lora_adapter_metadata": json.dumps(config)}
    save_file(GOOD, tmp_path / "x.safetensors", metadata=metadata)
    if config == {"unet.alpha_pattern": {"attn1.to_q": None, "": 3}}:
        # No number for the module: as if it were not named.
        assert read_adapter(tmp_path / "x.safetensors").layers[LAYER].scale == 1
        return
    with pytest.raises(InputError, match=r"alpha|infinite"):
        read_adapter(tmp_path / "x.safetensors")


def test_metadata_that_is_no_unicode_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(header({"__metadata__": {"modelspec.title": "\ud800"}}))
    with pytest.raises(InputError, match="not Unicode"):
        read_adapter(path)


@pytest.mark.parametrize("shape", [[True, 4], [2.0, 4], ["2", 4], [-1, -8], [2] * 5])
def test_shapes_that_are_none_are_refused(tmp_path, shape):
    path = tmp_path / "x.safetensors"
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, 32]}
    path.write_bytes(header({f"{LAYER}.lora_A.weight": entry}) + b"0" * 32)
    with pytest.raises(InputError, match="has shape"):
        read_adapter(path)


MODULES = (
    LAYER,
    "lora_unet_single_blocks_0_linear1",
    "lora_unet_double_blocks_0_img_attn_qkv",
    "lora_unet_final_layer_adaLN_modulation_1",
    "lora_unet_input_blocks_4_1_proj_in",
    "lora_te2_text_projection",
)
PARTS = (".lora_A.weight", ".lora_down.weight", ".lora_B.weight", ".lora_up.weight")
SCALES = (".alpha", ".dora_scale", ".lora_magnitude_vector", ".lora_magnitude_vector.weight")
TENSORS = st.tuples(
    st.lists(st.integers(0, 3) | st.sampled_from([8, 12]), max_size=4),
    st.sampled_from([torch.float32, torch.float16, torch.float64, torch.bfloat16]),
    st.sampled_from([0.0, 1.0, -2.0, float("nan"), float("inf")]),
)


@settings(max_examples=40)
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(MODULES), st.sampled_from(PARTS + SCALES)).map("".join),
        TENSORS,
        min_size=1,
        max_size=8,
    ),
    st.sampled_from(["{}", '{"unet.lora_alpha": 1e999}', '{"unet.use_rslora": 1}', "[]"]),
)
def test_any_mixture_of_tensors_is_read_or_refused(tmp_path_factory, tensors, config):
    path = tmp_path_factory.getbasetemp() / "mixture.safetensors"
    made = {
        key: torch.full(shape, value, dtype=dtype) for key, (shape, dtype, value) in tensors.items()
    }
    save_file(made, path, metadata={"lora_adapter_metadata": config})
    for look in (inspect_file, read_adapter):
        with contextlib.suppress(InputError):
            look(path)
