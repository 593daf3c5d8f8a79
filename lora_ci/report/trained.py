"""What a training came to, in words."""

from __future__ import annotations

from dataclasses import dataclass

from lora_ci.core.step import Stage, StepResult
from lora_ci.report.details import Curve, Details, metric, read_details
from lora_ci.report.figures import counted, duration, number, plain

# The held-out pictures are the same at each look, but few: less than this may be chance.
CLEAR_RISE = 0.02
LOOKS_AFTER = 2


def trained_text(result: StepResult) -> str:
    """`1,000 steps on 140 images in 12 min 5 s; validation loss 0.340 (best 0.335 at step 800)`.

    Of shards `1,000 steps on 140 images in 3 shards, rank 48`, for their steps were not made here.
    Empty where not even the number of steps is known.
    """
    found = read_details(Stage.TRAIN, result)
    steps, images = metric(result, "steps"), metric(result, "images")
    if not steps:
        return ""
    took = result.timings_s.get("train", 0.0)
    told = counted(round(steps), "step")
    told += f" on {counted(round(images), 'image')}" if images else ""
    if merged := merged_text(result):
        return f"{told} in {merged}"
    told += f" in {duration(took)}" if 0 < took < float("inf") else ""
    return "; ".join(filter(None, (told, loss_text(result, found))))


def merged_text(result: StepResult) -> str:
    """`3 shards, rank 48`; empty for an adapter that was not merged."""
    shards, rank = metric(result, "shards"), metric(result, "rank")
    return f"{counted(round(shards), 'shard')}, rank {plain(rank)}" if shards and rank else ""


def loss_text(result: StepResult, found: Details) -> str:
    """`validation loss 0.340 (best 0.335 at step 800)`, else `loss 0.700 → 0.217`."""
    if best := lowest(found.validation_loss):
        last = f"validation loss {number(best.last, 3)}"
        at = f" (best {number(best.loss, 3)} at step {plain(best.step)})"
        return last + (at if best.looks_after else "")
    first, last_loss = metric(result, "loss_first"), metric(result, "loss_last")
    if first is None or last_loss is None:
        return ""
    return f"loss {number(first, 3)} → {number(last_loss, 3)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowest:
    """Where the validation loss was lowest, and what it was at the end."""

    step: float
    loss: float
    last_step: float
    last: float
    looks_after: int

    @property
    def rose(self) -> bool:
        """True if it was lowest clearly before the end."""
        return self.looks_after >= LOOKS_AFTER and self.last > self.loss * (1 + CLEAR_RISE)


def lowest(curve: Curve) -> Lowest | None:
    """The lowest point of a validation curve; None where there is nothing to compare."""
    points = known(curve)
    if not points:
        return None
    at = min(range(len(points)), key=lambda i: points[i][1])
    step, loss = points[at]
    last_step, last = points[-1]
    return Lowest(
        step=step, loss=loss, last_step=last_step, last=last, looks_after=len(points) - 1 - at
    )


def known(curve: Curve) -> list[tuple[float, float]]:
    """The points that are numbers, in the order of their steps."""
    return sorted((x, y) for x, y in curve if y is not None)
