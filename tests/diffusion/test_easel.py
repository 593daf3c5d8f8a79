"""One base, many makers: each finds its own adapter on it and nothing of the one before."""

from dataclasses import replace

import pytest
import torch

from lora_ci.core.errors import InputError
from lora_ci.diffusion.attach import attach
from lora_ci.diffusion.easel import Easel
from lora_ci.diffusion.load import load_base
from lora_ci.diffusion.memory import OutOfMemory
from lora_ci.diffusion.request import PictureRequest
from lora_ci.formats.adapter import Adapter, LoraLayer
from tests.diffusion.pipelines import distance

pytestmark = pytest.mark.slow

REQUEST = PictureRequest(prompt="a cat", seed=3, steps=3, guidance=3.0, width=16, height=16)


def adapter_of(model, draw, ending=".to_v"):
    source = torch.Generator().manual_seed(draw)
    layers = {}
    for name, shape in model.shapes().items():
        if name.endswith(ending):
            down = torch.randn((2, *shape[1:]), generator=source)
            up = torch.randn((shape[0], 2), generator=source)
            layers[name] = LoraLayer(down=down, up=up, alpha=2.0)
    return Adapter(layers=layers)


@pytest.fixture
def easel(tiny_sd):
    return Easel(model=load_base(tiny_sd, content_id="b1"))


def test_makers_take_turns(easel):
    one, two = adapter_of(easel.model, 1), adapter_of(easel.model, 2)
    before = {name: module.weight.clone() for name, module in easel.model.modules()}

    def made(*worn, weight=1.0):
        generator = easel.generator(*worn)
        return generator.generate([replace(REQUEST, weight=weight if worn else 0.0)])[0]

    plain, first, second = made(), made(one), made(two)
    both = made(one, 1.0, ((two, 0.5),))
    assert distance(first, plain) > 5
    assert distance(second, first) > 5
    assert distance(both, first) > 5
    assert distance(made(one), first) == distance(made(), plain) == distance(made(two), second) == 0
    assert distance(made(one, 0.4, weight=0.4), first) > 2
    assert easel.bare() is easel.model
    assert not easel.model.originals
    assert all(torch.equal(m.weight, before[name]) for name, m in easel.model.modules())


def test_a_new_weight_alone_attaches_nothing_anew(easel):
    one = adapter_of(easel.model, 1)
    worn = easel.wearing(one, 1.0)
    assert easel.wearing(one, 0.5) is worn
    assert worn.weight == 0.5
    other = easel.wearing(one, 0.5, [(adapter_of(easel.model, 2), 1.0)])
    assert other is not worn
    assert worn.off


def test_a_generator_of_before_is_of_no_use(easel):
    """Its pictures would pass for another adapter's, or for the base's."""
    one = adapter_of(easel.model, 1)
    bare, worn = easel.generator(), easel.generator(one)
    with pytest.raises(InputError, match="attached"):
        bare.generate([REQUEST])
    easel.generator(adapter_of(easel.model, 2))
    with pytest.raises(InputError, match="taken off"):
        worn.generate([REQUEST])


def test_prompts_are_encoded_once_unless_an_adapter_teaches_texts(easel):
    bare = easel.generator()
    bare.generate([REQUEST])
    assert len(bare.texts) == 2
    assert easel.generator(adapter_of(easel.model, 1)).texts is bare.texts
    taught = easel.generator(adapter_of(easel.model, 1, "q_proj"))
    assert taught.texts == {}
    assert taught.teaches_text
    assert easel.generator().texts is bare.texts


def test_nothing_is_read_before_it_is_needed(easel):
    easel.generator()
    assert easel.bare() is easel.model
    assert easel.model.models.kept() == ()


def test_the_base_is_told_apart_by_content_device_and_floats(tiny_sd):
    ids = {
        Easel(model=load_base(tiny_sd, dtype, content_id=content)).identity
        for dtype in ("float32", "bfloat16")
        for content in ("b1", "b2")
    }
    assert len(ids) == 4
    assert all(one[1] == "cpu" for one in ids)


def test_an_adapter_too_large_for_the_memory_is_told_and_off(easel, monkeypatch):
    def change(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(LoraLayer, "change", change)
    with pytest.raises(OutOfMemory, match="the adapter"):
        easel.wearing(adapter_of(easel.model, 1), 1.0)
    monkeypatch.undo()
    assert not easel.model.originals
    attach(easel.model, adapter_of(easel.model, 1))
