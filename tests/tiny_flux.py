"""A tiny random FLUX folder: CLIP and T5, double and single blocks, 16 latent channels."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from transformers import CLIPTextModel, T5Config, T5EncoderModel

from tests.tiny_parts import clip_config, clip_tokenizer, t5_tokenizer, tiny_vae

POOLED_WIDTH, TOKEN_WIDTH = 16, 24
CHANNELS = 16


def build_tiny_flux(
    folder: Path, sample_size: int = 8, *, guidance_embeds: bool = True, seed: int = 0
) -> Path:
    """Writes a random FLUX model in diffusers format (pictures of 2 · sample_size pixels).

    FLUX.1-dev has `guidance_embeds` and shifts its times by the picture's size; schnell neither.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformer = FluxTransformer2DModel(
            patch_size=1,
            in_channels=CHANNELS * 4,
            num_layers=2,
            num_single_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=TOKEN_WIDTH,
            pooled_projection_dim=POOLED_WIDTH,
            guidance_embeds=guidance_embeds,
            axes_dims_rope=(4, 6, 6),
        )
        for weight in transformer.parameters():
            # Gates of random weights are nearly shut: what an adapter teaches would not show.
            weight.data.mul_(3)
        vae = tiny_vae(
            sample_size, CHANNELS, scaling_factor=0.3611, shift_factor=0.1159,
            use_quant_conv=False, use_post_quant_conv=False,
        )  # fmt: skip
        tokenizer, tokenizer_2 = clip_tokenizer(folder / "tokenizer"), t5_tokenizer()
        text = CLIPTextModel(clip_config(tokenizer, POOLED_WIDTH))
        text_2 = T5EncoderModel(
            T5Config(
                vocab_size=len(tokenizer_2),
                d_model=TOKEN_WIDTH,
                d_kv=12,
                d_ff=2 * TOKEN_WIDTH,
                num_layers=2,
                num_heads=2,
                feed_forward_proj="gated-gelu",
            )
        )
    FluxPipeline(
        vae=vae,
        text_encoder=text,
        text_encoder_2=text_2,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(
            shift=3.0 if guidance_embeds else 1.0,
            use_dynamic_shifting=guidance_embeds,
            base_shift=0.5,
            max_shift=1.15,
            base_image_seq_len=256,
            max_image_seq_len=4096,
        ),
    ).save_pretrained(folder)
    return folder
