"""Trains the autoencoder of the emoji world on the flat and the glossy pictures.

    python -m tools.emoji_world.vae --work WORK --minutes 12

Goes on from `WORK/vae` if it exists. The learning rate falls linearly to 0 over the time box.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL

KL_WEIGHT = 2e-3
BATCH = 16


def new_vae() -> AutoencoderKL:
    """64 px → 4 × 16 × 16; about 0.95 M parameters."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(32, 64, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=64,
        mid_block_add_attention=False,
    )


def load_pictures(work: Path) -> torch.Tensor:
    """Flat and glossy pictures, float in [-1, 1], [2 n, 3, 64, 64]; flat first."""
    pictures = np.load(work / "world.npz")["pictures"][:, :2]
    stacked = np.concatenate([pictures[:, 0], pictures[:, 1]])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 127.5 - 1


def reconstruction_loss(
    out: torch.Tensor, target: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """L1, and L1 plus half the L1 of the picture gradients (keeps edges crisp)."""
    l1 = F.l1_loss(out, target)
    dx = F.l1_loss(out.diff(dim=-1), target.diff(dim=-1))
    dy = F.l1_loss(out.diff(dim=-2), target.diff(dim=-2))
    return l1, l1 + 0.5 * (dx + dy)


def train(work: Path, minutes: float, seed: int) -> None:
    """The loop; saves every 100 steps and at the end."""
    torch.manual_seed(seed)
    folder = work / "vae"
    vae = AutoencoderKL.from_pretrained(folder) if folder.exists() else new_vae()
    vae = vae.to(memory_format=torch.channels_last)
    pictures = load_pictures(work)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=1e-3, fused=True)
    start, step = time.monotonic(), 0
    while (share := (time.monotonic() - start) / (60 * minutes)) < 1:
        optimizer.param_groups[0]["lr"] = 1e-3 * min(1, (step + 1) / 50) * (1 - share)
        batch = pictures[torch.randint(len(pictures), (BATCH,))]
        if torch.rand(()) < 0.5:
            batch = batch.flip(-1)
        batch = batch.to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(batch).latent_dist
            out = vae.decode(posterior.sample()).sample
        l1, loss = reconstruction_loss(out.float(), batch)
        kl = posterior.kl().mean() / posterior.mean[0].numel()
        optimizer.zero_grad()
        (loss + KL_WEIGHT * kl).backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        step += 1
        if step % 25 == 0:
            rate = (time.monotonic() - start) / step
            print(f"step {step} l1 {l1:.4f} kl {kl:.3f} {rate:.2f} s/step", flush=True)
        if step % 100 == 0:
            vae.save_pretrained(folder)
    with torch.no_grad():
        latents = torch.cat([vae.encode(p).latent_dist.mode() for p in pictures.split(64)])
    print("latent std by channel", latents.std(dim=(0, 2, 3)).tolist())
    vae.register_to_config(scaling_factor=float(1 / latents.std()))
    vae.save_pretrained(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    train(args.work, args.minutes, args.seed)
