"""How much memory of a GPU a training needs: what the least that asked for no less has taken.

Of four ways that `benchmarks/memory_needs.py` compares this one is too low least often, and it
takes nothing for granted but that more work takes no less memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lora_ci.config.model import Lora
from lora_ci.core.plan import Record
from lora_ci.core.settings import TrainSettings

GIB_MB = 2**30 / 1e6
# A process holds a CUDA context, and gaps between the blocks that PyTorch counts.
CONTEXT_GIB = 0.75
MARGIN = 1.15
# Parts of a fingerprint that must be the same, for who knows what they take.
ALIKE = (
    "base_model",
    *(
        f"train.{name}"
        for name in (
            *("backend", "method", "ranks", "modules", "text_encoder", "optimizer"),
            *("ema_decay", "sample_prompts", "buckets"),
        )
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a training needs memory for: pixels computed at once, rank, and all that is `alike`."""

    alike: tuple[str, ...]
    pixels: int
    rank: int
    checkpointing: bool
    wide: bool

    def asks_no_less(self, other: Shape) -> bool:
        """True if in no way it can do with less than the other."""
        return (
            self.alike == other.alike
            and self.pixels >= other.pixels
            and self.rank >= other.rank
            and self.checkpointing <= other.checkpointing
            and self.wide >= other.wide
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """A training that was, and the most that PyTorch had allocated of a GPU."""

    shape: Shape
    peak_gib: float


def memory_gib(shape: Shape, past: Iterable[Seen]) -> float | None:
    """What a process of that shape is likely to take at most; None where too little is known.

    That is the most that the same took, else the least of those that ask for no less; and never
    less than one that asks for no more.
    """
    most: dict[Shape, float] = {}
    for seen in past:
        most[seen.shape] = max(seen.peak_gib, most.get(seen.shape, 0.0))
    above = [gib for other, gib in most.items() if other.asks_no_less(shape)]
    below = [gib for other, gib in most.items() if shape.asks_no_less(other)]
    if not above:
        return None
    return max([most.get(shape, min(above)), *below]) * MARGIN + CONTEXT_GIB


def shape_of(lora: Lora, parts: Mapping[str, str]) -> Shape:
    """The shape of a training on one GPU; `parts` are those of its fingerprint."""
    train = lora.train
    rows = -(-train.batch_size // train.gradient_accumulation)
    return Shape(
        alike=_alike(parts),
        pixels=rows * train.resolution**2,
        rank=train.rank,
        checkpointing=train.gradient_checkpointing,
        wide=train.precision == "fp32",
    )


def seen_in(records: Iterable[Record]) -> tuple[Seen, ...]:
    """The passed trainings on one GPU of which the memory is known."""
    return tuple(seen for record in records if (seen := _seen(record)))


def _seen(record: Record) -> Seen | None:
    metrics, details = record.result.metrics, record.result.details
    rung = details.get("memory")
    known = (
        "peak_memory_mb" in metrics
        and "resolution" in metrics
        # Without a step of its own it only wrote what it found in a checkpoint.
        and "step_s" in metrics
        and str(details.get("device", "")).startswith("cuda")
        and details.get("processes") == 1
        and isinstance(rung, dict)
    )
    if not known or not isinstance(rung, dict):
        return None
    shape = Shape(
        alike=_alike(record.parts),
        pixels=int(rung["rows"]) * int(metrics["resolution"]) ** 2,
        rank=_rank(record.parts),
        checkpointing=bool(rung["checkpointing"]),
        wide=details.get("precision") == "float32",
    )
    return Seen(shape, metrics["peak_memory_mb"] / GIB_MB)


def _alike(parts: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(parts.get(name, "") for name in ALIKE)


def _rank(parts: Mapping[str, str]) -> int:
    """The rank; a setting at its default is no part."""
    given = parts.get("train.rank")
    return int(json.loads(given)[0]) if given else TrainSettings().rank
