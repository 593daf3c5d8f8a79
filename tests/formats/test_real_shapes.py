"""Full-size SD 1.5 and SDXL: names as the published tools expect them, and every tool on them."""

import pytest
import torch

from lora_ci.formats.contract import check_adapter
from lora_ci.formats.effect import compare_effect
from lora_ci.formats.family import FLUX, SD1, SDXL
from lora_ci.formats.inspection import inspect_file
from lora_ci.formats.keys import kohya_module, split_key
from lora_ci.formats.layout import read_layout
from lora_ci.formats.merge import merge
from lora_ci.formats.read import read_adapter
from lora_ci.formats.resize import resize
from lora_ci.formats.write import Format, write_adapter
from tests.formats.made import random_adapter
from tests.formats.published import flux_keys, sd1_keys, sdxl_convolution_keys, sdxl_keys
from tests.formats.real_bases import shapes_of, taught

pytestmark = pytest.mark.slow
CASES = (("sd15", SD1, sd1_keys()), ("sdxl", SDXL, sdxl_keys()))


@pytest.mark.parametrize(("base", "family", "expected"), CASES)
def test_kohya_keys_are_those_that_comfyui_and_a1111_expect(base, family, expected):
    modules = taught(shapes_of(base))
    keys = {kohya_module(module, family) for module in modules}
    assert keys == expected
    assert {split_key(f"{k}.lora_up.weight", "x")[0] for k in keys} == set(modules)


def test_sdxl_convolutions_have_the_original_names():
    rest = {
        name: shape
        for name, shape in shapes_of("sdxl").items()
        if name.startswith("unet.") and ".attentions." not in name
    }
    keys = {kohya_module(name, SDXL) for name in rest}
    assert keys == sdxl_convolution_keys()
    assert {split_key(f"{k}.lora_up.weight", "x")[0] for k in keys} == set(rest)


def test_fluxs_blocks_are_fused_under_the_names_of_sd_scripts(tmp_path):
    shapes = {n: s for n, s in shapes_of("flux").items() if "transformer_blocks." in n}
    adapter = random_adapter(shapes, rank=1, family=FLUX)
    path = tmp_path / "a.safetensors"
    write_adapter(adapter, path, Format.KOHYA)
    layout = read_layout(path)
    assert {key.split(".")[0] for key in layout.entries} == flux_keys()
    assert set(read_adapter(path).layers) == set(shapes)
    assert layout.shapes["lora_unet_single_blocks_0_linear1.lora_up.weight"] == (21504, 4)


@pytest.mark.parametrize(("base", "family", "expected"), CASES)
def test_every_tool_takes_a_full_key_set(tmp_path, base, family, expected):
    shapes = shapes_of(base)
    adapter = random_adapter(taught(shapes), rank=2, family=family)
    kohya, diffusers = tmp_path / "kohya.safetensors", tmp_path / "diffusers.safetensors"
    write_adapter(adapter, kohya, Format.KOHYA)
    found = inspect_file(kohya)
    assert (found.format, found.family, sum(found.layers.values())) == (
        "kohya",
        family,
        len(expected),
    )
    write_adapter(read_adapter(kohya), diffusers, Format.DIFFUSERS)
    back = read_adapter(diffusers)
    assert back.family == inspect_file(diffusers).family == family
    assert all(effect.same for effect in compare_effect(adapter, back))
    assert check_adapter(back, shapes, family) == ()
    one = resize(back, rank=1)
    assert one.adapter.ranks() == (1,)
    merged = merge([back, one.adapter], [0.5, 0.5])
    assert merged.adapter.ranks() == (3,)
    name = next(iter(back.layers))
    wanted = (back.layers[name].delta() + one.adapter.layers[name].delta()) / 2
    assert torch.allclose(merged.adapter.layers[name].delta(), wanted, atol=1e-5)
