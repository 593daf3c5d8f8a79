"""The names that ComfyUI and A1111 look for in kohya's files, written out from their rules.

SD 1.x: ComfyUI (`comfy/lora.py`, `comfy/utils.py: unet_to_diffusers`) takes diffusers' names, and
A1111 (`networks.py: convert_diffusers_name_to_compvis`) turns the same names into its own.
SDXL: both look under the names of the original UNet (`lora_unet_` and the module, dots as
underscores), and know the text encoders as `te1` and `te2`.
The lists hold what kohya's tools teach by default: attention blocks, and CLIP's layers.
"""

from __future__ import annotations

# Where SDXL's UNet has attention, and how many transformer blocks each has.
SDXL_DEPTHS = {
    **{f"input_blocks_{n}_1": 2 for n in (4, 5)},
    **{f"input_blocks_{n}_1": 10 for n in (7, 8)},
    "middle_block_1": 10,
    **{f"output_blocks_{n}_1": 10 for n in (0, 1, 2)},
    **{f"output_blocks_{n}_1": 2 for n in (3, 4, 5)},
}
SD1_DEPTHS = {
    **{f"down_blocks_{b}_attentions_{i}": 1 for b in (0, 1, 2) for i in (0, 1)},
    "mid_block_attentions_0": 1,
    **{f"up_blocks_{b}_attentions_{i}": 1 for b in (1, 2, 3) for i in (0, 1, 2)},
}
# SDXL's residual layers; those of another width inside than outside have a `skip_connection`.
SDXL_RESNETS = (
    *(f"input_blocks_{n}_0" for n in (1, 2, 4, 5, 7, 8)),
    *("middle_block_0", "middle_block_2"),
    *(f"output_blocks_{n}_0" for n in range(9)),
)
SDXL_SKIPS = (*(f"input_blocks_{n}_0" for n in (4, 7)), *(f"output_blocks_{n}_0" for n in range(9)))
SDXL_SAMPLERS = ("input_blocks_3_0_op", "input_blocks_6_0_op")
SDXL_UPSAMPLERS = ("output_blocks_2_2_conv", "output_blocks_5_2_conv")
SDXL_REST = ("input_blocks_0_0", "out_2", "time_embed_0", "time_embed_2", "label_emb_0_0")

BLOCK = (
    *(f"attn{n}_to_{x}" for n in (1, 2) for x in ("q", "k", "v", "out_0")),
    *("ff_net_0_proj", "ff_net_2"),
)
CLIP = (*(f"self_attn_{x}_proj" for x in ("q", "k", "v", "out")), "mlp_fc1", "mlp_fc2")


def sd1_keys() -> set[str]:
    """192 modules of the UNet, 72 of the text encoder."""
    return attention(SD1_DEPTHS) | clip("lora_te", 12)


def sdxl_keys() -> set[str]:
    """722 modules of the UNet, 264 of the text encoders."""
    return attention(SDXL_DEPTHS) | clip("lora_te1", 12) | clip("lora_te2", 32)


def sdxl_convolution_keys() -> set[str]:
    """What LoCon teaches besides, but for norms."""
    inner = {f"{r}_{x}" for r in SDXL_RESNETS for x in ("in_layers_2", "emb_layers_1")}
    inner |= {f"{r}_out_layers_3" for r in SDXL_RESNETS}
    skips = {f"{r}_skip_connection" for r in SDXL_SKIPS}
    names = inner | skips | {*SDXL_SAMPLERS, *SDXL_UPSAMPLERS, *SDXL_REST, "label_emb_0_2"}
    return {f"lora_unet_{name}" for name in names}


def flux_keys() -> set[str]:
    """304 modules of the double and the single blocks, as sd-scripts' `lora_flux.py` finds them."""
    double = ("attn_qkv", "attn_proj", "mlp_0", "mlp_2", "mod_lin")
    names = {
        f"double_blocks_{n}_{s}_{end}" for n in range(19) for s in ("img", "txt") for end in double
    }
    single = ("linear1", "linear2", "modulation_lin")
    names |= {f"single_blocks_{n}_{end}" for n in range(38) for end in single}
    return {f"lora_unet_{name}" for name in names}


def attention(depths: dict[str, int]) -> set[str]:
    """The modules of the attention blocks."""
    keys = {f"lora_unet_{place}_{end}" for place in depths for end in ("proj_in", "proj_out")}
    for place, depth in depths.items():
        inner = (f"transformer_blocks_{n}_{end}" for n in range(depth) for end in BLOCK)
        keys |= {f"lora_unet_{place}_{name}" for name in inner}
    return keys


def clip(prefix: str, layers: int) -> set[str]:
    """The modules of a CLIP text encoder."""
    inner = (f"text_model_encoder_layers_{n}_{end}" for n in range(layers) for end in CLIP)
    return {f"{prefix}_{name}" for name in inner}
