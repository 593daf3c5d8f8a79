"""An attached adapter makes the pictures that peft and diffusers make of it."""

from dataclasses import replace

import pytest
import torch
from peft import LoraConfig

from lora_ci.core.errors import InputError
from lora_ci.diffusion.attach import attach, detach
from lora_ci.diffusion.generate import DiffusersGenerator
from lora_ci.diffusion.load import load_base
from lora_ci.diffusion.request import PictureRequest
from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.formats.write import Format, write_adapter
from tests.diffusion.pipelines import distance, open_pipeline, pipeline_picture

pytestmark = pytest.mark.slow

# Ours adds the update to the weights, theirs computes it beside them: rounding differs.
LEVELS = 2
REQUEST = PictureRequest(
    prompt="a flat cat", negative_prompt="dog", seed=3, steps=3, guidance=3.0, width=16, height=16
)
TAUGHT = ("to_q", "to_v", "to_out.0", "ff.net.2", "conv1", "q_proj", "fc1", "add_k_proj")


@pytest.fixture
def folders(tiny_sd, tiny_sdxl, tiny_flux):
    return {"sd1": tiny_sd, "sdxl": tiny_sdxl, "flux": tiny_flux}


def random_adapter(model, *, dora, size=0.3):
    """Layers in the denoiser and in every text encoder that an adapter may teach."""
    draw = torch.Generator().manual_seed(1)
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


def test_an_adapter_of_another_family_is_refused(folders):
    adapter = random_adapter(load_base(folders["sdxl"]), dora=False)
    with pytest.raises(InputError, match="does not fit"):
        attach(load_base(folders["sd1"]), adapter)
    with pytest.raises(InputError, match="does not fit"):
        attach(load_base(folders["flux"]), adapter)
