"""DoRA: what its weights are, and that formats keep it."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from lora_ci.core.errors import InfrastructureError, InputError
from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.formats.effect import compare_effect
from lora_ci.formats.read import read_adapter
from lora_ci.formats.write import Format, check_effect, write_adapter
from tests.formats.made import Q, V, random_adapter, small

CONV = "unet.down_blocks.0.resnets.0.conv1"


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3, 3)])
def test_rows_have_the_learned_sizes(shape):
    (layer,) = random_adapter({Q: shape}, dora=True).layers.values()
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    full = weight + layer.change(weight)
    assert torch.allclose(full.flatten(1).norm(dim=1), layer.magnitude, atol=1e-6)
    direction = (weight + layer.delta()).flatten(1)
    cosine = torch.nn.functional.cosine_similarity(full.flatten(1), direction)
    assert torch.allclose(cosine, torch.ones(6), atol=1e-6)


def test_without_sizes_the_update_is_added():
    (layer,) = random_adapter({Q: (6, 4)}).layers.values()
    weight = torch.ones(6, 4, dtype=torch.float64)
    found = layer.change(weight)
    assert found.dtype == torch.float64
    assert torch.allclose(found, layer.delta().double(), atol=1e-6)


def test_a_row_of_zeros_stays_a_number():
    layer = LoraLayer(
        down=torch.zeros(1, 4), up=torch.zeros(2, 1), alpha=1.0, magnitude=torch.ones(2)
    )
    assert layer.change(torch.zeros(2, 4)).isfinite().all()


@pytest.mark.parametrize("kind", Format)
def test_formats_keep_the_sizes(tmp_path, kind):
    adapter = random_adapter({Q: (6, 4), CONV: (6, 4, 3, 3)}, dora=True)
    path = tmp_path / "a.safetensors"
    write_adapter(adapter, path, kind)
    shapes = {tuple(t.shape) for k, t in load_file(path).items() if "dora" in k or "magn" in k}
    # peft and kohya lay them out in their own ways.
    kohya = kind is Format.KOHYA
    assert shapes == ({(6, 1), (6, 1, 1, 1)} if kohya else {(6,), (1, 6, 1, 1)})
    back = read_adapter(path)
    for name, layer in adapter.layers.items():
        assert torch.equal(back.layers[name].magnitude, layer.magnitude)


def test_a_changed_size_stops_an_export():
    adapter = small(dora=True)
    for magnitude in (adapter.layers[Q].magnitude * 1.02, None):
        layer = replace(adapter.layers[Q], magnitude=magnitude)
        with pytest.raises(InfrastructureError, match="changed in the export"):
            check_effect(adapter, replace(adapter, layers={**adapter.layers, Q: layer}), "x")
    gone = {n: v for n, v in adapter.layers.items() if n != Q}
    assert not all(e.same for e in compare_effect(adapter, replace(adapter, layers=gone)))


def test_dora_on_some_layers_goes_to_kohya_alone(tmp_path):
    whole = small(dora=True)
    mixed = replace(whole, layers={**whole.layers, V: replace(whole.layers[V], magnitude=None)})
    with pytest.raises(InputError, match="would read all as DoRA"):
        write_adapter(mixed, tmp_path / "a.safetensors", Format.DIFFUSERS)
    write_adapter(mixed, tmp_path / "a.safetensors", Format.KOHYA)
    back = read_adapter(tmp_path / "a.safetensors")
    assert back.layers[V].magnitude is None
    assert back.layers[Q].magnitude is not None


@pytest.mark.parametrize("shape", [(1, 4), (4,), (2, 3), (), (6, 6), (0,)])
def test_sizes_of_columns_are_another_algorithm(tmp_path, shape):
    write_adapter(small(), tmp_path / "a.safetensors", Format.KOHYA)
    tensors = load_file(tmp_path / "a.safetensors")
    name = next(iter(tensors)).split(".")[0]
    save_file({**tensors, f"{name}.dora_scale": torch.ones(shape)}, tmp_path / "b.safetensors")
    with pytest.raises(InputError, match="DoRA sizes of shape"):
        read_adapter(tmp_path / "b.safetensors")


def test_an_adapter_knows_whether_it_is_decomposed():
    assert small(dora=True).decomposed
    assert not small().decomposed
    assert not Adapter(layers={}).decomposed
