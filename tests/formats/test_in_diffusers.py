"""diffusers' own loader makes of our files the very weights that the adapter means."""

import pytest
import torch
from diffusers import (
    FluxPipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from peft import LoraConfig, get_peft_model_state_dict

from lora_ci.diffusion.load import load_base
from lora_ci.formats.adapter import Adapter, LoraLayer
from lora_ci.formats.effect import compare_effect
from lora_ci.formats.keys import base_path
from lora_ci.formats.read import read_adapter
from lora_ci.formats.write import Format, write_adapter
from tests.formats.made import random_adapter
from tests.formats.real_bases import shapes_of

pytestmark = pytest.mark.slow
PIPELINES = {
    "sd1": StableDiffusionPipeline,
    "sdxl": StableDiffusionXLPipeline,
    "flux": FluxPipeline,
}
UNET = ("to_q", "to_out.0", "ff.net.2", "ff.net.0.proj", "proj_in", "conv1", "time_emb_proj")
TEXT = ("q_proj", "fc1")
SINGLE = (*("to_q", "to_k", "to_v", "to_out.0", "proj_mlp", "proj_out"), *TEXT)
DOUBLE = tuple(f".transformer_blocks.0.attn.{name}" for name in ("to_q", "to_k", "to_out.0"))


@pytest.fixture(scope="module")
def folders(tiny_sd, tiny_sdxl, tiny_flux, tmp_path_factory):
    """A base model of each family; SDXL as deep as SDXL is, which its names count on."""
    deep = tmp_path_factory.mktemp("deep") / "sdxl"
    pipe = StableDiffusionXLPipeline.from_pretrained(tiny_sdxl)
    pipe.unet = UNet2DConditionModel.from_config({**pipe.unet.config, "layers_per_block": 2})
    pipe.save_pretrained(deep)
    return {"sd1": tiny_sd, "sdxl": deep, "flux": tiny_flux}


def fused_weights(pipe, path):
    """Weights by module path after diffusers loaded the file at strength 1."""
    pipe.load_lora_weights(path.parent, weight_name=path.name)
    parts = [p for p in ("unet", "transformer", "text_encoder") if getattr(pipe, p, None)]
    if isinstance(pipe, StableDiffusionXLPipeline):
        parts.append("text_encoder_2")
    pipe.fuse_lora(components=parts)
    return {
        base_path(f"{part}.{name}"): module.base_layer.weight.detach()
        for part in parts
        for name, module in getattr(pipe, part).named_modules()
        if hasattr(module, "base_layer")
    }


@pytest.mark.parametrize(
    "case",
    [
        ("sd1", Format.DIFFUSERS, UNET + TEXT, False),
        ("sd1", Format.DIFFUSERS, UNET + TEXT, True),
        # diffusers loses the attention of text encoders in kohya's files, and all DoRA.
        ("sd1", Format.KOHYA, (*UNET, "fc1"), False),
        ("sdxl", Format.DIFFUSERS, UNET + TEXT, False),
        ("sdxl", Format.DIFFUSERS, UNET + TEXT, True),
        ("sdxl", Format.KOHYA, (*UNET, "add_embedding.linear_1", "conv_shortcut", "fc1"), False),
        ("flux", Format.DIFFUSERS, SINGLE, False),
        ("flux", Format.DIFFUSERS, SINGLE, True),
        # Its reader of kohya's FLUX files knows single blocks of the full width alone.
        ("flux", Format.KOHYA, DOUBLE, False),
    ],
)
def test_diffusers_reads_what_was_meant(folders, tmp_path, case):
    family, kind, endings, dora = case
    model = load_base(folders[family])
    shapes = {n: s for n, s in model.shapes().items() if n.endswith(endings)}
    adapter = random_adapter(shapes, family=family, dora=dora)
    before = {name: module.weight.detach().clone() for name, module in model.modules()}
    path = tmp_path / "a.safetensors"
    write_adapter(adapter, path, kind)
    after = fused_weights(PIPELINES[family].from_pretrained(folders[family]), path)
    assert set(adapter.layers) <= set(after)
    for name, weight in after.items():
        layer = adapter.layers.get(name)
        wanted = before[name] + (layer.change(before[name]) if layer else 0)
        assert torch.allclose(weight, wanted, atol=1e-5), name


def test_diffusers_splits_full_size_fused_layers_as_we_do(tmp_path):
    names = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp", "proj_out", "norm.linear")
    single = {f"transformer.single_transformer_blocks.5.{name}" for name in names}
    shapes = {name: shape for name, shape in shapes_of("flux").items() if name in single}
    adapter = random_adapter(shapes, rank=3, family="flux")
    write_adapter(adapter, tmp_path / "a.safetensors", Format.KOHYA)
    theirs = FluxPipeline.lora_state_dict(tmp_path / "a.safetensors")
    assert {key.rsplit(".lora_", 1)[0] for key in theirs} == single
    found = {
        name: LoraLayer(
            down=theirs[f"{name}.lora_A.weight"], up=theirs[f"{name}.lora_B.weight"], alpha=3.0
        )
        for name in single
    }
    for effect in compare_effect(adapter, Adapter(layers=found)):
        assert effect.cosine == pytest.approx(1, abs=1e-6), effect.module
        assert effect.size_ratio == pytest.approx(1, abs=1e-6), effect.module


@pytest.mark.parametrize("stabilized", [False, True])
@pytest.mark.parametrize("dora", [False, True])
def test_what_peft_saved_is_read_with_its_scales(tiny_sd, tmp_path, stabilized, dora):
    pipe = StableDiffusionPipeline.from_pretrained(tiny_sd)
    config = LoraConfig(
        r=4,
        lora_alpha=6,
        use_rslora=stabilized,
        use_dora=dora,
        init_lora_weights=False,
        target_modules=["to_q", "to_v", "conv1"],
        rank_pattern={"attn2.to_q": 2},
        alpha_pattern={"attn2.to_q": 5},
    )
    pipe.unet.add_adapter(config)
    StableDiffusionPipeline.save_lora_weights(
        tmp_path,
        unet_lora_layers=get_peft_model_state_dict(pipe.unet),
        unet_lora_adapter_metadata=pipe.unet.peft_config["default"].to_dict(),
    )
    adapter = read_adapter(tmp_path / "pytorch_lora_weights.safetensors")
    modules = {n: m for n, m in pipe.unet.named_modules() if hasattr(m, "base_layer")}
    before = {name: module.base_layer.weight.detach().clone() for name, module in modules.items()}
    pipe.fuse_lora(components=["unet"])
    assert set(adapter.layers) == {f"unet.{name}" for name in modules}
    for name, module in modules.items():
        wanted = module.base_layer.weight.detach()
        found = before[name] + adapter.layers[f"unet.{name}"].change(before[name])
        assert torch.allclose(found, wanted, atol=1e-5), name
