"""What is exported does what the adapter does, in our reader and in diffusers' loader."""

import json
import struct
from dataclasses import replace

import pytest
import torch
from diffusers import StableDiffusionPipeline
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from lora_ci.core.errors import InfrastructureError, InputError
from lora_ci.diffusion.attach import attach
from lora_ci.diffusion.generate import DiffusersGenerator
from lora_ci.diffusion.load import load_base
from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.formats.contract import check_adapter
from lora_ci.formats.effect import compare_effect
from lora_ci.formats.read import read_adapter
from lora_ci.formats.write import Format, check_effect, write_adapter
from tests.diffusion.test_generate import REQUEST, distance, pipeline_picture

LAYER = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"


def mixed_adapter(model, metadata=None):
    """Layers of two ranks and three scales, with a convolution and the text encoder."""
    draw = torch.Generator().manual_seed(1)
    layers = {}
    for i, (name, shape) in enumerate(sorted(model.shapes().items())):
        if name.endswith(("to_q", "to_out.0", "q_proj", "conv1")):
            rank = 2 + 2 * (i % 2)
            layers[name] = LoraLayer(
                down=torch.randn((rank, *shape[1:]), generator=draw) * 0.5,
                up=torch.randn((shape[0], rank, *[1] * (len(shape) - 2)), generator=draw) * 0.5,
                alpha=1.0 + i % 3,
            )
    return Adapter(layers=layers, metadata=metadata or {})


@pytest.mark.parametrize("kind", Format)
def test_an_export_has_the_adapters_effect(tiny_sd, tmp_path, kind):
    adapter = mixed_adapter(load_base(tiny_sd))
    write_adapter(adapter, tmp_path / "a.safetensors", kind)
    back = read_adapter(tmp_path / "a.safetensors")
    assert set(back.layers) == set(adapter.layers)
    for name, layer in adapter.layers.items():
        assert torch.allclose(back.layers[name].delta(), layer.delta(), atol=1e-5)
        assert back.layers[name].scale == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", Format)
def test_diffusers_loads_an_export_and_makes_our_pictures(tiny_sd, tmp_path, kind):
    model = load_base(tiny_sd)
    # diffusers' own reader of kohya files knows attention layers and the UNet best.
    layers = mixed_adapter(model).layers
    adapter = Adapter(layers={n: v for n, v in layers.items() if n.endswith(("to_q", "to_out.0"))})
    write_adapter(adapter, tmp_path / "a.safetensors", kind)
    plain = DiffusersGenerator(model).generate([REQUEST])[0]
    ours = DiffusersGenerator(model, attach(model, adapter)).generate([REQUEST])[0]
    pipe = StableDiffusionPipeline.from_pretrained(tiny_sd, safety_checker=None)
    pipe.load_lora_weights(tmp_path, weight_name="a.safetensors")
    theirs = pipeline_picture(pipe, REQUEST)
    assert distance(ours, theirs) <= 2
    assert distance(ours, plain) > 10


def test_equal_content_gives_equal_bytes_and_tells_nothing_private(tiny_sd, tmp_path):
    metadata = {"modelspec.title": "mei", "ss_output_name": "/home/someone/secret"}
    adapter = mixed_adapter(load_base(tiny_sd), metadata)
    turned = replace(adapter, layers=dict(reversed(adapter.layers.items())))
    write_adapter(adapter, tmp_path / "a.safetensors", Format.KOHYA)
    write_adapter(turned, tmp_path / "b.safetensors", Format.KOHYA)
    data = (tmp_path / "a.safetensors").read_bytes()
    assert data == (tmp_path / "b.safetensors").read_bytes()
    assert b"someone" not in data
    assert b'"modelspec.title":"mei"' in data
    assert load_file(tmp_path / "a.safetensors")


def test_a_changed_layer_stops_an_export(tiny_sd):
    adapter = mixed_adapter(load_base(tiny_sd))
    name, layer = next(iter(adapter.layers.items()))
    for changed in (
        {**adapter.layers, name: replace(layer, alpha=layer.alpha * 1.02)},
        {**adapter.layers, name: replace(layer, up=layer.up.flip(0))},
        {n: v for n, v in adapter.layers.items() if n != name},
    ):
        with pytest.raises(InfrastructureError, match="changed in the export"):
            check_effect(adapter, replace(adapter, layers=changed), "x")


@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 6), st.booleans())
def test_the_effect_is_that_of_the_full_matrices(seed, rank, other_rank, kernel):
    draw = torch.Generator().manual_seed(seed)
    tail, one = ((3, 3), (1, 1)) if kernel else ((), ())
    pair = [
        LoraLayer(
            down=torch.randn(r, 5, *tail, generator=draw),
            up=torch.randn(7, r, *one, generator=draw),
            alpha=3.0,
        )
        for r in (rank, other_rank)
    ]
    a, b = (layer.delta().double().flatten() for layer in pair)
    (effect,) = compare_effect(*(Adapter(layers={"m": layer}) for layer in pair))
    assert effect.cosine == pytest.approx(float(a @ b / a.norm() / b.norm()), abs=1e-4)
    assert effect.size_ratio == pytest.approx(float(b.norm() / a.norm()), rel=1e-4)


def diffusers_file(path, metadata=None, rank=2, **more):
    tensors = {f"{LAYER}.lora_A.weight": torch.ones(rank, 4), **more}
    tensors[f"{LAYER}.lora_B.weight"] = torch.ones(4, rank)
    save_file(tensors, path, metadata=metadata)
    return path


def test_alpha_stands_beside_the_tensors_or_in_the_metadata(tmp_path):
    path = tmp_path / "a.safetensors"
    name = LAYER.removeprefix("unet.")
    assert read_adapter(diffusers_file(path)).layers[LAYER].scale == 1
    config = {"unet.lora_alpha": 8}
    given_all = {"lora_adapter_metadata": json.dumps(config)}
    assert read_adapter(diffusers_file(path, given_all)).layers[LAYER].scale == 4
    config["unet.alpha_pattern"] = {name: 6}
    given_one = {"lora_adapter_metadata": json.dumps(config)}
    assert read_adapter(diffusers_file(path, given_one)).layers[LAYER].scale == 3
    beside = {f"{LAYER}.alpha": torch.tensor(1.0)}
    assert read_adapter(diffusers_file(path, given_one, **beside)).layers[LAYER].scale == 0.5


@pytest.mark.parametrize(
    "config", ['{"unet.lora_alpha": "x"}', '{"unet.lora_alpha": NaN}', "[]", "{", "[" * 99_999]
)
def test_metadata_that_lies_is_refused(tmp_path, config):
    path = diffusers_file(tmp_path / "a.safetensors", {"lora_adapter_metadata": config})
    with pytest.raises(InputError):
        read_adapter(path)


def test_a_layer_under_two_names_is_refused(tmp_path):
    more = {f"{LAYER}.lora.down.weight": torch.zeros(2, 4)}
    with pytest.raises(InputError, match="two `down` tensors"):
        read_adapter(diffusers_file(tmp_path / "a.safetensors", **more))


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_read_or_refused(tmp_path_factory, data, framed):
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    path.write_bytes(struct.pack("<Q", len(data)) + data if framed else data)
    with pytest.raises(InputError):
        read_adapter(path)


def test_the_contract_names_what_does_not_fit():
    layer = LoraLayer(down=torch.ones(2, 4), up=torch.ones(4, 2), alpha=2.0)
    shapes = {"unet.a": (4, 4), "unet.b": (9, 4), "unet.c": (4, 4), "unet.d": (4, 4)}
    broken = replace(layer, up=torch.full((4, 2), float("inf")))
    layers = {"unet.a": layer, "unet.b": layer, "unet.c": broken, "unet.nowhere": layer}
    found = check_adapter(Adapter(layers=layers), shapes)
    assert {f.rule for f in found} == {
        "adapter.shape",
        "adapter.not-finite",
        "adapter.unknown-module",
    }
    assert check_adapter(Adapter(layers={"unet.a": layer}), shapes) == ()
    idle = Adapter(layers={"unet.a": replace(layer, up=torch.zeros(4, 2))})
    assert [f.rule for f in check_adapter(idle, shapes)] == ["adapter.no-effect"]
    wide = LoraLayer(down=torch.ones(5, 4), up=torch.ones(4, 5), alpha=5.0)
    assert [f.rule for f in check_adapter(Adapter(layers={"unet.a": wide}), shapes)] == [
        "adapter.rank"
    ]
