"""The layers that are put beside the base's, against those that peft itself puts there."""

import re
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, inject_adapter_in_model

from lora_ci.core.settings import TrainSettings
from lora_ci.diffusion.load import load_base
from lora_ci.training.adapter import TEXT_ATTENTION, teach
from lora_ci.training.linear import LinearWithLora

pytestmark = pytest.mark.slow

ALL = ("attention", "feed-forward", "convolution")
PLAIN = TrainSettings(rank=4, alpha=6.0, seed=3, ranks={"to_k": 2}, alphas={"to_q": 5.0})


def of_peft(base, settings, dtype):
    """The parameters by name and value, each text encoder after the denoiser, from one seed."""
    model = load_base(base, dtype)
    family = model.family
    groups = dict(
        zip(ALL, (family.attention, family.feed_forward, family.convolution), strict=True)
    )
    endings = {family.denoiser: [e for word in settings.modules for e in groups[word]]}
    if settings.text_encoder:
        endings |= dict.fromkeys(family.taught_texts, TEXT_ATTENTION)
    found = {}
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        for component, modules in endings.items():
            config = LoraConfig(
                r=settings.rank,
                lora_alpha=settings.alpha,
                rank_pattern=dict(settings.ranks),
                alpha_pattern=dict(settings.alphas),
                # What stands alone at the top is not taught.
                target_modules=rf".+\.(?:{'|'.join(map(re.escape, modules))})",
                use_dora=settings.method == "dora",
                use_rslora=settings.rank_stabilized,
            )
            whole = model.models[component]
            inject_adapter_in_model(config, whole, "lora")
            found |= {f"{component}.{n}": p for n, p in whole.named_parameters() if ".lora." in n}
    return found


# peft warns of patterns that no layer of a text encoder matches.
@pytest.mark.filterwarnings("ignore:The following")
@pytest.mark.parametrize("family", ["tiny_sdxl", "tiny_flux"])
@pytest.mark.parametrize(
    ("dtype", "more"),
    [
        ("float32", {}),
        ("bfloat16", {}),
        ("float32", {"modules": ALL, "text_encoder": True}),
        ("float32", {"method": "dora", "modules": ALL[:2], "rank_stabilized": True}),
    ],
    ids=["lora", "half", "all", "dora"],
)
def test_they_have_the_names_and_begin_with_the_numbers_of_peft(request, family, dtype, more):
    base = request.getfixturevalue(family)
    if family == "tiny_flux" and "convolution" in more.get("modules", ()):
        more = more | {"modules": ALL[:2]}
    settings = replace(PLAIN, **more)
    theirs = of_peft(base, settings, dtype)
    ours = teach(load_base(base, dtype), settings).parameters
    assert list(ours) == sorted(theirs)
    assert len(ours) >= 16
    for name, parameter in ours.items():
        assert parameter.dtype == torch.float32
        assert parameter.requires_grad
        assert torch.equal(parameter, theirs[name].float()), name
    assert any(parameter.abs().max() > 0 for parameter in ours.values())


@pytest.mark.parametrize(
    ("more", "own"),
    [({}, True), ({"method": "dora"}, False), ({"compile": True}, False)],
    ids=["lora", "dora", "compile"],
)
def test_linear_layers_are_ours_where_that_is_all_there_is_to_it(tiny_sd, more, own):
    model = load_base(tiny_sd)
    taught = teach(model, replace(PLAIN, **more, modules=ALL[:2]))
    layers = [m for m in model.denoiser.modules() if hasattr(m, "lora_A")]
    assert len(layers) == len(taught.shapes) > 8
    assert {isinstance(layer, LinearWithLora) for layer in layers} == {own}
    named = model.denoiser.named_parameters()
    learning = {f"{model.family.denoiser}.{name}" for name, p in named if p.requires_grad}
    assert learning == set(taught.parameters)


def test_convolutions_are_left_to_peft(tiny_sd):
    model = load_base(tiny_sd)
    teach(model, replace(PLAIN, modules=ALL))
    kinds = {
        (type(m.base_layer).__name__, isinstance(m, LinearWithLora))
        for m in model.denoiser.modules()
        if hasattr(m, "lora_A")
    }
    assert ("Linear", True) in kinds
    assert ("Conv2d", False) in kinds
    assert all(own == (kind == "Linear") for kind, own in kinds)
