"""Every random choice of training, as a function of (seed, step) alone.

Nothing random is carried from step to step, so a resumed run draws what it would have drawn.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """The choices of one step, each [batch]; noise is [batch, channels, h, w]."""

    samples: torch.Tensor
    mirrored: torch.Tensor
    dropped: torch.Tensor
    timesteps: torch.Tensor
    noise: torch.Tensor


def draw_step(
    seed: int,
    step: int,
    *,
    count: int,
    batch: int,
    timesteps: int,
    shape: tuple[int, ...],
    dropout: float,
) -> Draw:
    """The draw of a step over `count` samples; each epoch sees every sample once."""
    source = _source(seed, "step", step)
    first = step * batch
    return Draw(
        samples=torch.tensor([_sample(seed, i, count) for i in range(first, first + batch)]),
        mirrored=torch.rand(batch, generator=source) < 0.5,
        dropped=torch.rand(batch, generator=source) < dropout,
        timesteps=torch.randint(timesteps, (batch,), generator=source),
        noise=torch.randn(batch, *shape, generator=source),
    )


def _sample(seed: int, position: int, count: int) -> int:
    """The sample at a position in the endless sequence of shuffled epochs."""
    epoch, index = divmod(position, count)
    return int(torch.randperm(count, generator=_source(seed, "epoch", epoch))[index])


def _source(seed: int, what: str, number: int) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/{what}/{number}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)
