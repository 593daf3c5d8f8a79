"""Trains the tiny CLIP of the emoji world on all three styles, the held-out pictures left out.

    python -m tools.emoji_world.clip --work WORK --steps 1600

Saves `WORK/clip.pt` as it goes and continues from it. Prints top-5 retrieval of the right name, on
training pictures and on the held-out Fluent ones.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from tools.emoji_world.words import MAX_TOKENS, STYLE_WORDS, make_tokenizer, token_ids, world_names

BATCH = 128


def new_clip(tokenizer) -> CLIPModel:
    """1.6 M parameters: 8-pixel patches, 128 wide."""
    config = CLIPConfig(
        projection_dim=96,
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "max_position_embeddings": MAX_TOKENS,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "image_size": 64,
            "patch_size": 8,
        },
    )
    # Fused attention has a slow backward pass on the CPU.
    config._attn_implementation = "eager"
    return CLIPModel(config)


def augment(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Flip, shift, scale, turn and change colors a little; [n, 3, 64, 64] in [-1, 1]."""
    n = len(pictures)

    def draw(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    mirror = torch.where(draw(0, 1) < 0.5, -1.0, 1.0)
    scale, angle = draw(0.8, 1.25), draw(-0.25, 0.25)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = scale * angle.cos() * mirror, -scale * angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = scale * angle.sin() * mirror, scale * angle.cos()
    theta[:, 0, 2], theta[:, 1, 2] = draw(-0.15, 0.15), draw(-0.15, 0.15)
    grid = F.affine_grid(theta, [n, 3, 64, 64], align_corners=False)
    moved = F.grid_sample(1 - pictures, grid, align_corners=False)
    gain = draw(0.85, 1.15).view(-1, 1, 1, 1) * (
        1 + 0.1 * torch.randn(n, 3, 1, 1, generator=generator)
    )
    return (1 - moved * gain).clamp(-1, 1)


def embed_images(clip: CLIPModel, pictures: torch.Tensor) -> torch.Tensor:
    """Unit embeddings, [n, 96]."""
    return F.normalize(clip.visual_projection(clip.vision_model(pictures).pooler_output), dim=-1)


def embed_texts(clip: CLIPModel, ids: torch.Tensor) -> torch.Tensor:
    """Unit embeddings, [n, 96]."""
    return F.normalize(clip.text_projection(clip.text_model(ids).pooler_output), dim=-1)


@torch.no_grad()
def top5(clip: CLIPModel, pictures: torch.Tensor, right: torch.Tensor, ids: torch.Tensor) -> float:
    """Share of pictures whose right name is among the five nearest of all names."""
    near = (embed_images(clip, pictures) @ embed_texts(clip, ids).T).topk(5).indices
    return float((near == right[:, None]).any(1).float().mean())


def train(work: Path, steps: int, seed: int) -> None:
    """The loop; saves the model, the tokenizer and the preprocessing at the end."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    names = world_names(work)
    n = len(names)
    tokenizer = make_tokenizer(names, work / "tokenizer")
    world = np.load(work / "world.npz")
    pictures = torch.from_numpy(world["pictures"]).permute(1, 0, 4, 2, 3).float() / 127.5 - 1
    held_out = torch.from_numpy(world["held_out"])
    usable = torch.ones(3, n, dtype=torch.bool)
    usable[2, held_out] = False
    index = usable.flatten().nonzero().flatten()
    flat = pictures.flatten(0, 1)
    plain = token_ids(tokenizer, names)
    styled = token_ids(tokenizer, [f"a {s} emoji of {name}" for s in STYLE_WORDS for name in names])
    clip = new_clip(tokenizer)
    optimizer = torch.optim.AdamW(clip.parameters(), lr=1e-3, weight_decay=0.1, fused=True)
    done = 0
    if (work / "clip.pt").exists():
        state = torch.load(work / "clip.pt", weights_only=True)
        clip.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["step"]
    start, step = time.monotonic(), done
    while step < steps:
        optimizer.param_groups[0]["lr"] = 1e-3 * min(1, (step + 1) / 100) * (1 - step / steps)
        batch = index[torch.randperm(len(index), generator=generator)[:BATCH]]
        use_style = torch.rand(BATCH, generator=generator) < 0.6
        ids = torch.where(use_style[:, None], styled[batch], plain[batch % n])
        with torch.autocast("cpu", torch.bfloat16):
            image = embed_images(clip, augment(flat[batch], generator))
            text = embed_texts(
                clip, ids[:, : int((ids != tokenizer.eos_token_id).sum(1).max()) + 1]
            )
        image, text = image.float(), text.float()
        logits = clip.logit_scale.exp().clamp(max=50) * image @ text.T
        # A picture matches every caption of its concept that does not name another style.
        match = (batch[:, None] % n == batch % n) & (
            (batch[:, None] == batch) | ~use_style[None, :]
        )
        target = match.float() / match.float().sum(1, keepdim=True)
        back = match.float().T / match.float().T.sum(1, keepdim=True)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, back)) / 2
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(clip.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 100 == 0:
            pace = (time.monotonic() - start) / (step - done)
            print(f"step {step} loss {loss.item():.3f} {pace:.2f} s/step", flush=True)
            state = {"model": clip.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
            torch.save(state, work / "clip.tmp")
            os.replace(work / "clip.tmp", work / "clip.pt")
    clip.eval()
    print("top-5, flat and glossy:", top5(clip, flat[: 2 * n], torch.arange(2 * n) % n, plain))
    print("top-5, held-out Fluent:", top5(clip, pictures[2, held_out], held_out, plain))
    clip.save_pretrained(work / "clip")
    tokenizer.save_pretrained(work / "clip")
    CLIPImageProcessor(
        size={"height": 64, "width": 64},
        do_center_crop=False,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    ).save_pretrained(work / "clip")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    train(args.work, args.steps, args.seed)
