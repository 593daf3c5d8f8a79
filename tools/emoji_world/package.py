"""Writes the trained parts as the folders that the project ships.

python -m tools.emoji_world.package --work WORK --out examples/emoji
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from transformers import CLIPModel, CLIPTokenizer

from tools.emoji_world.base import new_scheduler, new_text_encoder, new_unet


def load_pipeline(work: Path) -> StableDiffusionPipeline:
    """The pipeline with the averaged (EMA) weights."""
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
    state = torch.load(work / "base.pt", weights_only=True)
    model = torch.nn.ModuleDict({"unet": new_unet(), "text": new_text_encoder(tokenizer)})
    with torch.no_grad():
        for parameter, average in zip(model.parameters(), state["ema"], strict=True):
            parameter.copy_(average)
    return StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(work / "vae"),
        unet=model["unet"],
        text_encoder=model["text"],
        tokenizer=tokenizer,
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def package(work: Path, out: Path) -> None:
    """Replaces `out/base` and `out/clip`; README.md files in them are kept."""
    load_pipeline(work).to(torch.float16).save_pretrained(out / "base")
    if (work / "clip").exists():
        CLIPModel.from_pretrained(work / "clip", dtype=torch.float16).save_pretrained(out / "clip")
        for name in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
            shutil.copy(work / "clip" / name, out / "clip" / name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    package(args.work, args.out)
