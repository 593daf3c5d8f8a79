"""A tiny random Stable Diffusion folder, built in code in a second; and pictures to train on."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextModel

from tests.tiny_parts import clip_config, clip_tokenizer, ddim, tiny_vae

# The width of a text token by which SD 2.x is told from SD 1.x.
SD2_WIDTH = 1024


def build_tiny_sd(
    folder: Path,
    sample_size: int = 8,
    *,
    prediction: str = "v_prediction",
    zero_snr: bool = True,
    timestep_spacing: str = "trailing",
    text_width: int = 16,
    seed: int = 0,
) -> Path:
    """Writes a random SD model in diffusers format (pictures of 2 · sample_size pixels).

    With `text_width=SD2_WIDTH` it is one of SD 2.x, its attention's projections linear as theirs.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        unet = UNet2DConditionModel(
            sample_size=sample_size,
            in_channels=4,
            out_channels=4,
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=text_width,
            attention_head_dim=2,
            norm_num_groups=8,
            use_linear_projection=text_width == SD2_WIDTH,
        )
        vae = tiny_vae(sample_size)
        tokenizer = clip_tokenizer(folder / "tokenizer")
        layers = 1 if text_width == SD2_WIDTH else 2
        text = CLIPTextModel(
            clip_config(tokenizer, text_width, intermediate_size=32, num_hidden_layers=layers)
        )
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=ddim(prediction, zero_snr=zero_snr, spacing=timestep_spacing),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def write_dataset(folder: Path, images: int = 6, trigger: str = "mei") -> Path:
    """Pictures of colored squares, each with a caption."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(images):
        picture = Image.new("RGB", (64, 64), (255, 255, 255))
        picture.paste((40 * i % 256, 200 - 30 * i, 90), (6 + 3 * i, 8, 30 + 4 * i, 50 - 2 * i))
        picture.paste((10, 20 * i, 255 - 20 * i), (30, 30 + i, 44 + 2 * i, 60))
        picture.save(folder / f"{i:02d}.png")
        (folder / f"{i:02d}.txt").write_text(f"{trigger}, a square number {i}\n")
    return folder
