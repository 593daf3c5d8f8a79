"""A tiny random SDXL folder: two text encoders, sizes told, three blocks as SDXL has them."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from tests.tiny_parts import clip_config, clip_tokenizer, ddim, tiny_vae

FIRST_WIDTH, SECOND_WIDTH = 16, 24
SIZE_WIDTH = 8


def build_tiny_sdxl(
    folder: Path, sample_size: int = 8, *, prediction: str = "epsilon", seed: int = 0
) -> Path:
    """Writes a random SDXL model in diffusers format (pictures of 2 · sample_size pixels)."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=sample_size,
            in_channels=4,
            out_channels=4,
            block_out_channels=(16, 32, 32),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 1, 2),
            attention_head_dim=(2, 2, 4),
            cross_attention_dim=FIRST_WIDTH + SECOND_WIDTH,
            addition_embed_type="text_time",
            addition_time_embed_dim=SIZE_WIDTH,
            projection_class_embeddings_input_dim=SECOND_WIDTH + 6 * SIZE_WIDTH,
            use_linear_projection=True,
            norm_num_groups=8,
        )
        vae = tiny_vae(sample_size, scaling_factor=0.13025)
        tokenizer = clip_tokenizer(folder / "tokenizer")
        tokenizer_2 = clip_tokenizer(folder / "tokenizer_2", pad="-")
        text = CLIPTextModel(clip_config(tokenizer, FIRST_WIDTH))
        text_2 = CLIPTextModelWithProjection(
            clip_config(tokenizer_2, SECOND_WIDTH, hidden_act="gelu", num_hidden_layers=3)
        )
    StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=text,
        text_encoder_2=text_2,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        unet=unet,
        scheduler=ddim(prediction, zero_snr=False, spacing="leading"),
        add_watermarker=False,
    ).save_pretrained(folder)
    return folder
