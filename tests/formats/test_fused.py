"""FLUX: what kohya's files hold as one matrix does what its parts do."""

import json
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from lora_ci.core.errors import InputError
from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.formats.effect import compare_effect
from lora_ci.formats.fuse import fuse_layers, split_fused
from lora_ci.formats.read import read_adapter
from lora_ci.formats.write import Format, write_adapter
from tests.formats.made import BLOCK, SINGLE, flux_attention, random_adapter

FUSED = "lora_unet_single_blocks_3_linear1"


@pytest.mark.parametrize("dora", [False, True])
def test_fused_is_the_parts_one_below_the_other(dora):
    adapter = flux_attention(dora=dora)
    fused = fuse_layers(adapter.layers)
    assert sorted(fused) == ["bfl.double_blocks.0.img_attn.qkv", "bfl.single_blocks.3.linear1"]
    parts = [adapter.layers[f"{SINGLE}.{n}"] for n in ("attn.to_q", "attn.to_k", "attn.to_v")]
    parts.append(adapter.layers[f"{SINGLE}.proj_mlp"])
    whole = fused["bfl.single_blocks.3.linear1"]
    assert torch.allclose(whole.delta(), torch.cat([part.delta() for part in parts]), atol=1e-6)
    if dora:
        assert torch.equal(whole.magnitude, torch.cat([part.magnitude for part in parts]))
    back = split_fused(fused, "x")
    assert set(back) == set(adapter.layers)
    assert {layer.rank for layer in back.values()} == {2}
    same = compare_effect(adapter, Adapter(layers=back, family="flux"))
    assert all(effect.same for effect in same)


@settings(max_examples=30)
@given(
    st.sets(st.sampled_from(["to_q", "to_k", "to_v"]), min_size=1),
    st.integers(1, 4),
    st.integers(0, 2**31),
)
def test_parts_that_are_missing_stay_missing(names, rank, seed):
    adapter = flux_attention(sorted(names), rank=rank, seed=seed)
    back = split_fused(fuse_layers(adapter.layers), "x")
    assert set(back) == set(adapter.layers)
    for name, layer in adapter.layers.items():
        assert torch.allclose(back[name].delta(), layer.delta(), atol=1e-5)


def test_a_matrix_that_was_trained_as_one_is_split_by_rows(tmp_path):
    draw = torch.Generator().manual_seed(0)
    down, up = torch.randn(4, 8, generator=draw), torch.randn(56, 4, generator=draw)
    tensors = {f"{FUSED}.lora_down.weight": down, f"{FUSED}.lora_up.weight": up}
    save_file({**tensors, f"{FUSED}.alpha": torch.tensor(2.0)}, tmp_path / "a.safetensors")
    adapter = read_adapter(tmp_path / "a.safetensors")
    names = (*(f"{SINGLE}.attn.to_{x}" for x in "qkv"), f"{SINGLE}.proj_mlp")
    rows = [adapter.layers[name].delta() for name in names]
    assert [len(part) for part in rows] == [8, 8, 8, 32]
    assert torch.allclose(torch.cat(rows), 0.5 * up @ down, atol=1e-6)
    assert adapter.family == "flux"


@pytest.mark.parametrize("kind", Format)
@pytest.mark.parametrize("dora", [False, True])
def test_flux_files_come_back(tmp_path, kind, dora):
    adapter = flux_attention(dora=dora)
    write_adapter(adapter, tmp_path / "a.safetensors", kind)
    assert set(read_adapter(tmp_path / "a.safetensors").layers) == set(adapter.layers)


def test_the_last_layers_shift_and_scale_change_places(tmp_path):
    name = "transformer.norm_out.linear"
    adapter = random_adapter({name: (6, 4)}, family="flux")
    path = tmp_path / "a.safetensors"
    write_adapter(adapter, path, Format.KOHYA)
    up = load_file(path)["lora_unet_final_layer_adaLN_modulation_1.lora_up.weight"]
    wanted = adapter.layers[name].up * adapter.layers[name].scale
    assert torch.equal(up, torch.cat([wanted[3:], wanted[:3]]))
    back = read_adapter(path).layers[name]
    assert torch.allclose(back.delta(), adapter.layers[name].delta())


def test_a_part_without_its_dora_sizes_is_refused():
    layers = flux_attention(dora=True).layers
    name = f"{BLOCK}.attn.to_k"
    plain = {**layers, name: replace(layers[name], magnitude=None)}
    with pytest.raises(InputError, match="DoRA on some parts"):
        fuse_layers(plain)


def test_a_module_that_flux_lacks_is_refused():
    layer = random_adapter({"transformer.elsewhere": (4, 4)}, family="flux").layers
    with pytest.raises(InputError, match="elsewhere"):
        fuse_layers(layer)


def test_heights_that_are_no_parts_are_refused():
    layer = LoraLayer(down=torch.ones(2, 8), up=torch.ones(20, 2), alpha=2.0)
    for name in ("bfl.single_blocks.0.linear1", "bfl.double_blocks.0.img_attn.qkv"):
        with pytest.raises(InputError, match="20 rows"):
            split_fused({name: layer}, "x")


def test_a_module_under_both_names_is_refused(tmp_path):
    adapter = flux_attention()
    write_adapter(adapter, tmp_path / "a.safetensors", Format.KOHYA)
    write_adapter(adapter, tmp_path / "b.safetensors", Format.DIFFUSERS)
    both = {**load_file(tmp_path / "a.safetensors"), **load_file(tmp_path / "b.safetensors")}
    save_file(both, tmp_path / "c.safetensors", metadata={"x": json.dumps({})})
    with pytest.raises(InputError, match="twice"):
        read_adapter(tmp_path / "c.safetensors")
