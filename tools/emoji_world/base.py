"""Trains the UNet and the text encoder of the emoji world.

    python -m tools.emoji_world.base --work WORK --steps 5600

Needs `WORK/vae` and `WORK/world.npz`. Saves `WORK/base.pt` as it goes and continues from it; the
learning rate is flat after a warm-up and falls linearly over the last third of the steps.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPTextConfig, CLIPTextModel

from tools.emoji_world.vae import load_pictures
from tools.emoji_world.words import MAX_TOKENS, captions, make_tokenizer, token_ids, world_names

BATCH = 48
PEAK_RATE = 1e-3
WARM_UP_STEPS = 200
CAPTION_DROPOUT = 0.1
BARE_CAPTION_SHARE = 0.15
EMA_DECAY = 0.999


def new_scheduler() -> DDIMScheduler:
    """v-prediction with zero terminal SNR and trailing steps."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


def new_unet() -> UNet2DConditionModel:
    """5.6 M parameters on 4 × 16 × 16 latents."""
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(64, 96, 128),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=128,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def new_text_encoder(tokenizer) -> CLIPTextModel:
    """0.85 M parameters, 128 wide, 3 layers."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=512,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            projection_dim=96,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


@torch.no_grad()
def encode_pictures(work: Path) -> torch.Tensor:
    """Scaled latents of flat, then glossy pictures, [2 n, 4, 16, 16]."""
    vae = AutoencoderKL.from_pretrained(work / "vae").eval()
    latents = torch.cat([vae.encode(p).latent_dist.mode() for p in load_pictures(work).split(64)])
    return latents * vae.config.scaling_factor


def train(work: Path, steps: int, seed: int) -> None:
    """The loop."""
    torch.manual_seed(seed)
    names = world_names(work)
    tokenizer = make_tokenizer(names, work / "tokenizer")
    ids = token_ids(tokenizer, [*captions(names), ""])
    n = len(names)
    latents = encode_pictures(work)
    unet = new_unet().to(memory_format=torch.channels_last)
    # On the CPU the backward pass of fused attention takes a third of a step.
    unet.set_attn_processor(AttnProcessor())
    text = new_text_encoder(tokenizer)
    model = torch.nn.ModuleDict({"unet": unet, "text": text})
    ema = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=PEAK_RATE, weight_decay=0.01, betas=(0.9, 0.99), fused=True
    )
    alphas = new_scheduler().alphas_cumprod
    done = 0
    if (work / "base.pt").exists():
        state = torch.load(work / "base.pt", weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        ema, done = state["ema"], state["step"]
    start, step, mean_loss = time.monotonic(), done, 0.0
    while step < steps:
        rate = PEAK_RATE * min(1, (step + 1) / WARM_UP_STEPS) * min(1, 3 * (1 - step / steps))
        optimizer.param_groups[0]["lr"] = rate
        index = torch.randint(2 * n, (BATCH,))
        draw = torch.rand(BATCH)
        caption = torch.where(draw < BARE_CAPTION_SHARE, 2 * n + index % n, index)
        caption = torch.where(draw > 1 - CAPTION_DROPOUT, 3 * n, caption)
        x0, noise = latents[index], torch.randn(BATCH, 4, 16, 16)
        t = torch.randint(1000, (BATCH,))
        alpha = alphas[t].view(-1, 1, 1, 1)
        noisy = alpha.sqrt() * x0 + (1 - alpha).sqrt() * noise
        target = alpha.sqrt() * noise - (1 - alpha).sqrt() * x0
        with torch.autocast("cpu", torch.bfloat16):
            context = text(ids[caption]).last_hidden_state
            out = unet(noisy.to(memory_format=torch.channels_last), t, context).sample
        # Unweighted: the noisiest steps, which min-SNR would mute, decide shapes and colors.
        loss = (out.float() - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        decay = min(EMA_DECAY, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(ema, list(model.parameters()), 1 - decay)
        mean_loss += (loss.item() - mean_loss) / min(step - done, 100)
        if step % 50 == 0:
            pace = (time.monotonic() - start) / (step - done)
            print(f"step {step} loss {mean_loss:.4f} lr {rate:.1e} {pace:.2f} s/step", flush=True)
        if step % 200 == 0:
            save(work, model, optimizer, ema, step)
    save(work, model, optimizer, ema, step)


def save(work: Path, model, optimizer, ema: list[torch.Tensor], step: int) -> None:
    """Writes `base.pt` in one move."""
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save({**state, "ema": ema, "step": step}, work / "base.tmp")
    os.replace(work / "base.tmp", work / "base.pt")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=5600)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    train(args.work, args.steps, args.seed)
