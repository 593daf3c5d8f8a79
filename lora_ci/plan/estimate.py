"""What a stage will cost in GPU-hours: from what it cost before, else a wide prior."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lora_ci.config.model import Lora
from lora_ci.core.plan import Estimate, Record
from lora_ci.core.step import Stage
from lora_ci.plan.epoch import epoch_images
from lora_ci.plan.facts import LoraFacts

GPU_STAGES = (Stage.TRAIN, Stage.QA, Stage.OPTIMIZE)
# Seconds an image seen at 512 × 512, from a fast data-centre GPU to a slow home one. A guess that
# the first record replaces.
PRIOR_IMAGE_S = (0.05, 1.0)
# Minutes of judging and of looking for the weight. A guess too.
PRIOR_MINUTES = {Stage.QA: (1.0, 20.0), Stage.OPTIMIZE: (1.0, 20.0)}
PRIOR = "nothing of the kind ran before: a wide guess"
# A single measurement says little of how times scatter, other LoRAs' say less.
ALONE = (0.7, 1.5)
OTHERS = (0.5, 2.0)
SEVERAL = (0.9, 1.1)


def estimate(
    lora: Lora,
    facts: LoraFacts,
    stage: Stage,
    past: Sequence[Record],
    others: Sequence[Record],
) -> Estimate | None:
    """The cost of a stage of a LoRA from its past records, else from those of `others`.

    None for stages that need no GPU, and for a merge of shards: they have their own.
    """
    merges = stage is Stage.TRAIN and lora.train.shards > 1
    if stage not in GPU_STAGES or merges or lora.resources.gpus == 0:
        return None
    images = images_of(lora, facts)
    if hours := _hours(lora, images, stage, past):
        spread = SEVERAL if len(hours) > 1 else ALONE
        what = f"{len(hours)} past {stage} step{'s' * (len(hours) > 1)} of {lora.name}"
        return _range(lora, hours, spread, what)
    if hours := _hours(lora, images, stage, others):
        return _range(lora, hours, OTHERS, f"past {stage} steps of other LoRAs")
    if stage is Stage.TRAIN:
        pixels = images * (lora.train.resolution / 512) ** 2
        hours = [seconds * pixels / 3600 for seconds in PRIOR_IMAGE_S]
    else:
        hours = [minutes / 60 for minutes in PRIOR_MINUTES[stage]]
    return _range(lora, hours, (1.0, 1.0), PRIOR)


def images_of(lora: Lora, facts: LoraFacts) -> int:
    """The images that a training will have seen."""
    return lora.train.total_steps(epoch_images(facts, lora.shard)) * lora.train.batch_size


def total(estimates: Iterable[Estimate | None]) -> Estimate | None:
    """The sum; its basis is the weakest, None if there is nothing to add."""
    given = [e for e in estimates if e is not None]
    if not given:
        return None
    bases = {e.basis for e in given}
    basis = PRIOR if PRIOR in bases else "; ".join(sorted(bases))
    return Estimate(low=sum(e.low for e in given), high=sum(e.high for e in given), basis=basis)


def spent_hours(records: Iterable[Record]) -> float:
    """What recorded steps took, in hours of the machine that ran them."""
    stages = [r for r in records if r.stage in GPU_STAGES]
    return sum(r.result.timings_s.get("total", 0.0) for r in stages) / 3600


def _hours(lora: Lora, images: int, stage: Stage, past: Sequence[Record]) -> list[float]:
    """What the stage would have taken at the speed of each past step, in hours."""
    found = []
    for record in past:
        metrics, timings = record.result.metrics, record.result.timings_s
        if stage is Stage.TRAIN and metrics.get("images_seen"):
            if not metrics.get("step_s"):
                continue
            # A resumed step's total leaves out what was done before; its speed does not.
            per_image = metrics["step_s"] * metrics.get("steps", 0.0)
            per_image /= metrics["images_seen"]
            side = metrics.get("resolution") or lora.train.resolution
            scale = (lora.train.resolution / side) ** 2
            seconds = per_image * scale * images + timings.get("prepare", 0.0)
        else:
            seconds = timings.get("total", 0.0)
        if seconds > 0:
            found.append(seconds / 3600)
    return found


def _range(lora: Lora, hours: Sequence[float], spread: tuple[float, float], basis: str) -> Estimate:
    gpus = lora.resources.gpus
    return Estimate(
        low=min(hours) * spread[0] * gpus, high=max(hours) * spread[1] * gpus, basis=basis
    )
