"""Full-size UNets and text encoders from their published configs, without their weights."""

from __future__ import annotations

from functools import cache

import torch
from diffusers import FluxTransformer2DModel, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

CROSS, PLAIN = "CrossAttn{}Block2D", "{}Block2D"
SD15_UNET = {
    "sample_size": 64,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "down_block_types": (*[CROSS.format("Down")] * 3, PLAIN.format("Down")),
    "up_block_types": (PLAIN.format("Up"), *[CROSS.format("Up")] * 3),
}
SDXL_UNET = {
    "sample_size": 128,
    "cross_attention_dim": 2048,
    "attention_head_dim": (5, 10, 20),
    "block_out_channels": (320, 640, 1280),
    "layers_per_block": 2,
    "transformer_layers_per_block": (1, 2, 10),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
    "down_block_types": (PLAIN.format("Down"), *[CROSS.format("Down")] * 2),
    "up_block_types": (*[CROSS.format("Up")] * 2, PLAIN.format("Up")),
}
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12}
CLIP_G = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32}
HEADS = {768: 12, 1280: 20}


@cache
def shapes_of(name: str) -> dict[str, tuple[int, ...]]:
    """Weight shapes by module path of a base: all its linear and convolution modules."""
    with torch.device("meta"):
        if name == "flux":
            # FLUX.1-dev's sizes are the class's own.
            parts = {"transformer": FluxTransformer2DModel(guidance_embeds=True)}
        elif name == "sd15":
            parts = {"unet": UNet2DConditionModel(**SD15_UNET), "text_encoder": clip(CLIP_L)}
        else:
            parts = {
                "unet": UNet2DConditionModel(**SDXL_UNET),
                "text_encoder": clip(CLIP_L),
                "text_encoder_2": clip(CLIP_G, CLIPTextModelWithProjection),
            }
    return {
        f"{part}.{path.removeprefix('text_model.')}": tuple(module.weight.shape)
        for part, model in parts.items()
        for path, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d)
    }


def clip(sizes, kind=CLIPTextModel):
    """A CLIP text encoder of these sizes."""
    heads = HEADS[sizes["hidden_size"]]
    return kind(CLIPTextConfig(**sizes, num_attention_heads=heads, projection_dim=heads * 64))


def taught(shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """What kohya's tools teach by default: attention blocks, and the layers of text encoders."""
    return {
        name: shape
        for name, shape in shapes.items()
        if ".attentions." in name or (name.startswith("text") and ".layers." in name)
    }
