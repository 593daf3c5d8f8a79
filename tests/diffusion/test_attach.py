"""An attached adapter makes the pictures that peft and diffusers make of it."""

from dataclasses import replace

import pytest
import torch
from peft import LoraConfig

from lora_ci.core.errors import InputError
from lora_ci.diffusion.attach import attach, detach, set_weight
from lora_ci.diffusion.generate import DiffusersGenerator
from lora_ci.diffusion.load import load_base
from lora_ci.diffusion.request import PictureRequest
from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.formats.write import Format, write_adapter
from tests.diffusion.pipelines import distance, open_pipeline, pipeline_picture

pytestmark = pytest.mark.slow

# Ours adds the update to the weights, theirs computes it beside them: rounding differs.
LEVELS = 2
# The last bit of a number, relative to it.
BIT = {"float32": 2**-22, "bfloat16": 2**-7, "float16": 2**-10}
REQUEST = PictureRequest(
    prompt="a flat cat", negative_prompt="dog", seed=3, steps=3, guidance=3.0, width=16, height=16
)
TAUGHT = ("to_q", "to_v", "to_out.0", "ff.net.2", "conv1", "q_proj", "fc1", "add_k_proj")


@pytest.fixture
def folders(tiny_sd, tiny_sdxl, tiny_flux):
    return {"sd1": tiny_sd, "sdxl": tiny_sdxl, "flux": tiny_flux}


def random_adapter(model, *, dora, size=0.3, draw=1):
    """Layers in the denoiser and in every text encoder that an adapter may teach."""
    draw = torch.Generator().manual_seed(draw)
    weights = {name: module.weight for name, module in model.modules()}
    layers = {}
    for name in sorted(name for name in weights if name.endswith(TAUGHT)):
        weight = weights[name]
        down = torch.randn((4, *weight.shape[1:]), generator=draw) * size
        up = torch.randn((len(weight), 4, *([1] * (weight.ndim - 2))), generator=draw) * size
        norm = weight.flatten(1).norm(dim=1)
        magnitude = norm * (1 + 0.3 * torch.randn(norm.shape, generator=draw)) if dora else None
        layers[name] = LoraLayer(down=down, up=up, alpha=2.0, magnitude=magnitude)
    components = {name.split(".")[0] for name in layers}
    assert components == {model.family.denoiser, *model.family.taught_texts}
    return Adapter(layers=layers, family=model.family.name)


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("family", ["sd1", "sdxl", "flux"])
def test_an_export_makes_the_same_pictures_in_diffusers(tmp_path, folders, family, dora):
    model = load_base(folders[family])
    plain = DiffusersGenerator(model).generate([REQUEST])[0]
    adapter = random_adapter(model, dora=dora)
    path = tmp_path / "adapter.safetensors"
    write_adapter(adapter, path, Format.DIFFUSERS)
    ours = DiffusersGenerator(model, attach(model, path)).generate([REQUEST])[0]
    pipe = open_pipeline(folders[family], family)
    pipe.load_lora_weights(path)
    theirs = pipeline_picture(pipe, REQUEST)
    assert distance(ours, plain) > 10
    assert distance(ours, theirs) <= LEVELS


@pytest.mark.parametrize("family", ["sd1", "sdxl", "flux"])
def test_a_model_in_training_and_its_adapter_agree(folders, family):
    model = load_base(folders[family])
    denoiser = model.denoiser
    torch.manual_seed(2)
    denoiser.add_adapter(
        LoraConfig(r=3, lora_alpha=5, use_dora=True, target_modules=["to_q", "to_v", "conv2"])
    )
    with torch.no_grad():
        for name, parameter in denoiser.named_parameters():
            if "lora_" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    trained = DiffusersGenerator(model).generate([REQUEST])[0]
    layers = {
        f"{model.family.denoiser}.{name}": LoraLayer(
            down=module.lora_A["default"].weight.detach(),
            up=module.lora_B["default"].weight.detach(),
            alpha=5.0,
            magnitude=module.lora_magnitude_vector["default"].weight.detach().flatten(),
        )
        for name, module in denoiser.named_modules()
        if hasattr(module, "lora_A")
    }
    assert len(layers) > 3
    fresh = load_base(folders[family])
    plain = DiffusersGenerator(fresh).generate([REQUEST])[0]
    attached = attach(fresh, Adapter(layers=layers, family=family))
    ours = DiffusersGenerator(fresh, attached).generate([REQUEST])[0]
    assert distance(ours, plain) > 5
    assert distance(ours, trained) <= LEVELS


@pytest.mark.parametrize("family", ["sd1", "sdxl", "flux"])
def test_dora_by_weight_leaves_no_trace(folders, family):
    model = load_base(folders[family])
    before = {name: module.weight.clone() for name, module in model.modules()}
    plain = DiffusersGenerator(model).generate([REQUEST])[0]
    attached = attach(model, random_adapter(model, dora=True))
    generator = DiffusersGenerator(model, attached)
    full, none, again = generator.generate([replace(REQUEST, weight=w) for w in (1.0, 0.0, 1.0)])
    assert distance(full, plain) > 5
    assert distance(none, plain) == 0
    assert distance(full, again) == 0
    detach(attached)
    assert all(torch.equal(module.weight, before[name]) for name, module in model.modules())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("dora", [False, True])
def test_two_adapters_add_up_and_are_rounded_once(folders, dora, dtype):
    model = load_base(folders["sd1"], dtype)
    modules = dict(model.modules())
    before = {name: module.weight.clone() for name, module in modules.items()}
    one, two = random_adapter(model, dora=dora), random_adapter(model, dora=False, draw=2)
    # The second teaches other modules too, and not all of the first's.
    two = Adapter(layers=dict(list(two.layers.items())[1:]), family=two.family)
    attached = attach(model, one, 0.4, beside=[(two, 1.5)])

    def check(weight, *, bits):
        for name, start in before.items():
            exact = start.float()
            wanted = exact.clone()
            for adapter, w in ((one, weight), (two, 1.5)):
                if name in adapter.layers:
                    wanted += w * adapter.layers[name].change(exact)
            rtol, atol = bits * BIT[dtype], bits * 1e-7
            wanted = wanted.to(start.dtype)
            torch.testing.assert_close(modules[name].weight, wanted, rtol=rtol, atol=atol)

    for weight in (0.4, 1.5, 0.0, 1.0):
        set_weight(attached, weight)
        check(weight, bits=0)
    detach(attached)
    assert all(torch.equal(module.weight, before[name]) for name, module in modules.items())
    attached = attach(model, two, 1.5, beside=[(one, 1.0)])
    # Added in the other order.
    check(1.0, bits=1)
    detach(attached)


def test_an_adapter_beside_another_is_in_the_picture(folders):
    model = load_base(folders["sdxl"])
    one, two = random_adapter(model, dora=True), random_adapter(model, dora=False, draw=2)
    requests = [replace(REQUEST, weight=w) for w in (0.0, 0.4, 1.5)]

    def made(adapter, *beside):
        attached = attach(model, adapter, beside=[(other, 0.7) for other in beside])
        pictures = DiffusersGenerator(model, attached).generate(requests)
        detach(attached)
        return pictures

    alone, both, other = made(one), made(one, two), made(two)
    plain = DiffusersGenerator(model).generate([REQUEST])[0]
    assert distance(alone[0], plain) == distance(other[0], plain) == 0
    assert distance(both[0], plain) > 5
    assert all(distance(a, b) > 5 for a, b in zip(alone, both, strict=True))
    assert distance(both[1], both[2]) > 5


@pytest.mark.parametrize("weight", [-0.5, 1.6, float("nan"), float("inf")])
def test_weights_out_of_range_are_refused_and_change_nothing(folders, weight):
    model = load_base(folders["sd1"])
    adapter = random_adapter(model, dora=False)
    with pytest.raises(InputError, match=r"expected 0 to 1\.5"):
        attach(model, adapter, weight)
    with pytest.raises(InputError, match=r"expected 0 to 1\.5"):
        attach(model, adapter, beside=[(adapter, weight)])
    assert not model.originals
    attached = attach(model, adapter, 0.5)
    with pytest.raises(InputError, match=r"expected 0 to 1\.5"):
        DiffusersGenerator(model, attached).generate([replace(REQUEST, weight=weight)])
    assert attached.weight == 0.5


def test_an_attachment_that_is_broken_off_leaves_the_base(folders, monkeypatch):
    model = load_base(folders["sd1"])
    before = {name: module.weight.clone() for name, module in model.modules()}
    adapter = random_adapter(model, dora=False)
    calls = []

    def change(layer, weight):
        calls.append(layer)
        if len(calls) == 3:
            raise torch.OutOfMemoryError
        return torch.ones_like(weight)

    monkeypatch.setattr(LoraLayer, "change", change)
    with pytest.raises(torch.OutOfMemoryError):
        attach(model, adapter)
    assert not model.originals
    assert all(torch.equal(module.weight, before[name]) for name, module in model.modules())


def test_what_was_taken_off_changes_nothing_any_more(folders):
    """Else it would put its old weights over those of the next one."""
    model = load_base(folders["sd1"])
    first = attach(model, random_adapter(model, dora=False))
    detach(first)
    second = attach(model, random_adapter(model, dora=False, draw=2))
    with pytest.raises(InputError, match="taken off"):
        DiffusersGenerator(model, first).generate([REQUEST])
    detach(second)


def test_an_adapter_of_another_family_is_refused(folders):
    adapter = random_adapter(load_base(folders["sdxl"]), dora=False)
    with pytest.raises(InputError, match="does not fit"):
        attach(load_base(folders["sd1"]), adapter)
    with pytest.raises(InputError, match="does not fit"):
        attach(load_base(folders["flux"]), adapter)
