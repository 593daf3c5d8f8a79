"""Pictures are those of StableDiffusionPipeline, and depend on their own request alone."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from lora_ci.core.errors import InputError
from lora_ci.diffusion.attach import attach, detach, set_weight
from lora_ci.diffusion.generate import DiffusersGenerator
from lora_ci.diffusion.load import load_base
from lora_ci.diffusion.request import PictureRequest
from lora_ci.formats.adapter import Adapter, LoraLayer
from tests.diffusion.pipelines import distance, open_pipeline, pipeline_picture
from tests.tiny_sd import build_tiny_sd

LEVELS = 2
REQUEST = PictureRequest(
    prompt="a flat cat",
    negative_prompt="dog",
    seed=3,
    steps=4,
    guidance=4.0,
    guidance_rescale=0.5,
    width=16,
    height=16,
)


def random_adapter(model, components=("unet", "text_encoder"), size=0.5):
    draw = torch.Generator().manual_seed(1)
    layers = {}
    for name, shape in model.shapes().items():
        if name.startswith(components) and name.endswith(("to_q", "to_v", "q_proj", "conv1")):
            down = torch.randn((4, *shape[1:]), generator=draw) * size
            up = torch.randn((shape[0], 4, *([1] * (len(shape) - 2))), generator=draw) * size
            layers[name] = LoraLayer(down=down, up=up, alpha=2.0)
    return Adapter(layers=layers)


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"prediction": "epsilon", "zero_snr": False, "timestep_spacing": "leading"},
        {"prediction": "v_prediction", "zero_snr": False, "timestep_spacing": "linspace"},
    ],
)
@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_pictures_are_the_pipelines(tmp_path, variant, guidance):
    folder = build_tiny_sd(tmp_path / "base", **variant)
    request = replace(REQUEST, guidance=guidance)
    ours = DiffusersGenerator(load_base(folder)).generate([request])[0]
    theirs = pipeline_picture(open_pipeline(folder, "sd1"), request)
    assert ours.shape == (16, 16, 3)
    assert ours.dtype == np.uint8
    assert ours.std() > 5
    assert distance(ours, theirs) <= 1


def test_a_picture_is_the_same_alone_and_in_a_batch(tiny_sd):
    generator = DiffusersGenerator(load_base(tiny_sd), batch_size=3)
    requests = [
        replace(REQUEST, seed=s, prompt=p, guidance=g)
        for g in (1.0, 4.0)
        for p in ("cat", "flat dog")
        for s in (0, 7)
    ]
    together = generator.generate(requests)
    alone = [generator.generate([request])[0] for request in requests]
    assert max(map(distance, together, alone)) <= LEVELS
    assert distance(together[0], together[1]) > 10


def test_an_adapter_acts_by_weight_and_leaves_no_trace(tiny_sd):
    model = load_base(tiny_sd)
    before = {name: module.weight.clone() for name, module in model.modules()}
    plain = DiffusersGenerator(model).generate([REQUEST])[0]
    attached = attach(model, random_adapter(model))
    with pytest.raises(InputError, match="give it to the generator"):
        DiffusersGenerator(model).generate([REQUEST])
    generator = DiffusersGenerator(model, attached)
    full, half, none = generator.generate([replace(REQUEST, weight=w) for w in (1.0, 0.5, 0.0)])
    assert distance(full, plain) > 10
    assert distance(half, full) > 2
    assert distance(none, plain) == 0
    set_weight(attached, 0.7)
    detach(attached)
    assert all(torch.equal(module.weight, before[name]) for name, module in model.modules())


def test_an_adapter_that_does_not_fit_is_refused_and_changes_nothing(tiny_sd):
    model = load_base(tiny_sd)
    good = random_adapter(model)
    bad = {**good.layers, "unet.nowhere.to_q": next(iter(good.layers.values()))}
    with pytest.raises(InputError, match="nowhere"):
        attach(model, Adapter(layers=bad))
    assert not model.originals


def test_a_second_adapter_is_refused(tiny_sd):
    model = load_base(tiny_sd)
    attach(model, random_adapter(model))
    with pytest.raises(InputError, match="detach"):
        attach(model, random_adapter(model))


def test_odd_sides_are_refused(tiny_sd):
    with pytest.raises(InputError, match="multiples of 2") as told:
        DiffusersGenerator(load_base(tiny_sd)).generate([replace(REQUEST, width=15)])
    assert told.value.findings[0].hint == "next: 14 pixels"


def test_folders_that_are_no_base_model(tmp_path, tiny_sd):
    with pytest.raises(InputError, match="no such folder"):
        load_base(tmp_path / "absent")
    (tmp_path / "unet").mkdir()
    with pytest.raises(InputError, match="vae, text_encoder"):
        load_base(tmp_path)


def test_a_broken_config_is_the_users_fault(tmp_path):
    folder = build_tiny_sd(tmp_path / "base")
    config = folder / "unet" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "in_channels": 9}))
    with pytest.raises(InputError, match="9 channels"):
        load_base(folder)
    config.write_text("{")
    with pytest.raises(InputError, match="config"):
        load_base(folder)
