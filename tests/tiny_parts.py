"""Random parts of tiny base models, of the classes and settings that real ones have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, DDIMScheduler
from transformers import CLIPTextConfig, CLIPTokenizer, T5Tokenizer

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789,.-"
TEXT_TOKENS = 16


def clip_tokenizer(folder: Path, *, pad: str = "<|endoftext|>") -> CLIPTokenizer:
    """One token a letter; SDXL's second tokenizer pads with `!` instead of the end."""
    tokens = [*ALPHABET, *(f"{c}</w>" for c in ALPHABET), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer.from_pretrained(folder, model_max_length=TEXT_TOKENS, pad_token=pad)


def clip_config(tokenizer: CLIPTokenizer, width: int = 16, **more: Any) -> CLIPTextConfig:
    """A text encoder of two layers, or as told."""
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": TEXT_TOKENS,
        "projection_dim": width,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    return CLIPTextConfig(**settings | more)


def t5_tokenizer() -> T5Tokenizer:
    """One token a letter."""
    pieces = ["<pad>", "</s>", "<unk>", "▁", *ALPHABET]
    vocab = [(piece, 0.0 if i < 3 else -2.0) for i, piece in enumerate(pieces)]
    return T5Tokenizer(vocab=vocab, extra_ids=0, model_max_length=TEXT_TOKENS)


def tiny_vae(sample_size: int, channels: int = 4, **more: Any) -> AutoencoderKL:
    """Two pixels a latent along a side."""
    return AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=channels,
        norm_num_groups=4,
        sample_size=2 * sample_size,
        **{"scaling_factor": 0.5} | more,
    )


def ddim(prediction: str, *, zero_snr: bool, spacing: str) -> DDIMScheduler:
    """Stable Diffusion's noise schedule."""
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type=prediction,
        rescale_betas_zero_snr=zero_snr,
        timestep_spacing=spacing,
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )
