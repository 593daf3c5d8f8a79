"""A tiny random Stable Diffusion folder, built in code in a second."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789,.-"


def build_tiny_sd(
    folder: Path,
    sample_size: int = 8,
    *,
    prediction: str = "v_prediction",
    zero_snr: bool = True,
    timestep_spacing: str = "trailing",
    seed: int = 0,
) -> Path:
    """Writes a random SD model in diffusers format (pictures of 2 · sample_size pixels)."""
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
            cross_attention_dim=16,
            attention_head_dim=2,
            norm_num_groups=8,
        )
        vae = AutoencoderKL(
            block_out_channels=(8, 16),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            layers_per_block=1,
            latent_channels=4,
            norm_num_groups=4,
            sample_size=2 * sample_size,
            scaling_factor=0.5,
        )
        tokenizer = _tokenizer(folder / "tokenizer")
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=16,
                projection_dim=16,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type=prediction,
        rescale_betas_zero_snr=zero_snr,
        timestep_spacing=timestep_spacing,
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )
    StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def _tokenizer(folder: Path) -> CLIPTokenizer:
    """One token a letter."""
    tokens = [*ALPHABET, *(f"{c}</w>" for c in ALPHABET), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=16)


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
