"""What the training benchmark trains on: two base models, pictures to learn, others held out.

Both are made of the pictures in `examples/emoji`; the small SDXL is made here, of random weights.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from lora_ci.diffusion.quiet import quiet_transformers

EMOJI = Path(__file__).parents[1] / "examples" / "emoji"
TAUGHT = EMOJI / "pictures" / "fluent3d"
HELD_OUT = EMOJI / "pictures" / "fluent3d-references"
# Widths of SDXL's denoiser over five, and depths cut, so that a step takes about a second here.
UNET_WIDTHS = (64, 128, 256)
DEPTHS = (1, 2, 4)
HEAD_WIDTH = 64
# The VAE's widths are such that its share of a step is about what SDXL's has at 1024 pixels: a
# quarter.
VAE_WIDTHS = (20, 40, 80, 80)
TEXT_WIDTHS = (128, 192)
TEXT_DEPTHS = (12, 32)
SIZE_WIDTH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A base model and what it is to learn; `script` is the file name of diffusers' example."""

    name: str
    script: str
    base: Path
    dataset: Path
    held_out: Path
    resolution: int
    pictures: int
    batch: int
    steps: int

    @property
    def epoch_steps(self) -> int:
        """Steps in which every picture was seen, on either side."""
        return -(-self.pictures // self.batch)


def build_world(name: str, folder: Path, *, steps: int | None = None) -> World:
    """Writes the world called `emoji` or `sdxl`; `steps` instead of its own number."""
    folder.mkdir(parents=True)
    sdxl = name == "sdxl"
    if sdxl:
        with quiet_transformers():
            build_small_sdxl(folder / "base")
    else:
        shutil.copytree(EMOJI / "base", folder / "base")
    resolution, pictures, held_out = (256, 40, 12) if sdxl else (64, 80, 24)
    write_pictures(TAUGHT, folder / "dataset", pictures, resolution)
    write_pictures(HELD_OUT, folder / "held-out", held_out, resolution)
    return World(
        name=name,
        script=f"train_text_to_image_lora{'_sdxl' if sdxl else ''}.py",
        base=folder / "base",
        dataset=folder / "dataset",
        held_out=folder / "held-out",
        resolution=resolution,
        pictures=pictures,
        batch=2 if sdxl else 8,
        steps=steps or (40 if sdxl else 100),
    )


def write_pictures(source: Path, folder: Path, count: int, resolution: int) -> None:
    """Pictures with captions, in both layouts: sidecars for us, metadata.jsonl for the scripts.

    They get the size that is trained on, so that nobody has to resize or crop.
    """
    folder.mkdir()
    lines = []
    for path in sorted(source.glob("*.png"))[:count]:
        sidecar = path.with_suffix(".txt")
        with Image.open(path) as picture:
            sized = picture.resize((resolution, resolution), Image.Resampling.LANCZOS)
            sized.save(folder / path.name)
        shutil.copy(sidecar, folder)
        lines.append(json.dumps({"file_name": path.name, "text": sidecar.read_text().strip()}))
    (folder / "metadata.jsonl").write_text("\n".join(lines) + "\n")


def build_small_sdxl(folder: Path) -> None:
    """A random model of SDXL's build in diffusers format, about a fiftieth of its parameters.

    Source: the config files of stable-diffusion-xl-base-1.0, for what is not a width or a depth.
    """
    from diffusers import AutoencoderKL, StableDiffusionXLPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

    from tests.tiny_parts import clip_config, ddim

    tokenizer = CLIPTokenizer.from_pretrained(EMOJI / "base" / "tokenizer", local_files_only=True)
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=32,
        block_out_channels=UNET_WIDTHS,
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=DEPTHS,
        attention_head_dim=tuple(width // HEAD_WIDTH for width in UNET_WIDTHS),
        cross_attention_dim=sum(TEXT_WIDTHS),
        addition_embed_type="text_time",
        addition_time_embed_dim=SIZE_WIDTH,
        projection_class_embeddings_input_dim=TEXT_WIDTHS[1] + 6 * SIZE_WIDTH,
        use_linear_projection=True,
    )
    vae = AutoencoderKL(
        block_out_channels=VAE_WIDTHS,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        norm_num_groups=4,
        sample_size=256,
        scaling_factor=0.13025,
    )
    texts = [
        clip_config(
            tokenizer,
            width,
            intermediate_size=4 * width,
            num_hidden_layers=depth,
            num_attention_heads=width // HEAD_WIDTH,
            max_position_embeddings=tokenizer.model_max_length,
        )
        for width, depth in zip(TEXT_WIDTHS, TEXT_DEPTHS, strict=True)
    ]
    StableDiffusionXLPipeline(
        vae=vae,
        text_encoder=CLIPTextModel(texts[0]),
        text_encoder_2=CLIPTextModelWithProjection(texts[1]),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=ddim("epsilon", zero_snr=False, spacing="leading"),
        add_watermarker=False,
    ).save_pretrained(folder)
