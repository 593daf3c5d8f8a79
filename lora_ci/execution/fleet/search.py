"""How many GPUs it takes."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from lora_ci.core.errors import InputError
from lora_ci.execution.fleet.loras import draw_loras, gpu_hours
from lora_ci.execution.fleet.measured import Measured, spread_of
from lora_ci.execution.fleet.scenario import Scenario
from lora_ci.execution.fleet.simulate import Watch, simulate

# Of the good LoRAs, so many must pass.
ENOUGH = 0.95
# With more to do the queue grows for ever, as GPUs are away too; a few days may not show it.
BUSIEST = 0.95
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The smallest number of GPUs with which 95 of 100 LoRAs are back in time, and all tried."""

    gpus: int
    measured: Measured
    tried: tuple[Measured, ...]


def simulated(scenario: Scenario, watch: Watch = lambda *_: None) -> Measured:
    """What comes of a scenario, in a folder that is gone afterwards."""
    memory = str(MEMORY) if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="lora-ci-fleet-", dir=memory) as folder:
        return simulate(scenario, Path(folder), watch)


def find_gpus(scenario: Scenario, turnaround_h: float, watch: Watch = lambda *_: None) -> Found:
    """The smallest number of GPUs that is quick enough; `scenario.gpus` is not looked at.

    More GPUs are taken to be no slower, so that halves of what is left can be tried.

    Raises:
        InputError: it cannot be reached with any number, as a single LoRA takes longer.
    """
    tried: dict[int, Measured] = {}

    def is_enough(gpus: int) -> bool:
        tried[gpus] = simulated(replace(scenario, gpus=gpus), watch)
        return tried[gpus].turnaround.p95 <= turnaround_h and tried[gpus].success >= ENOUGH

    loras = draw_loras(scenario)
    alone = spread_of([sum(lora.stage_s.values()) for lora in loras if lora.good])
    low = max(1, math.ceil(gpu_hours(loras) / (24 * scenario.days * BUSIEST)))
    high, step = low, 1
    never = InputError(
        f"no number of GPUs brings 95 of 100 LoRAs back in {turnaround_h:g} h: "
        f"alone on a GPU they take {alone.p95:.2f} h",
        hint="next: a longer --turnaround",
    )
    if alone.p95 > turnaround_h:
        raise never
    while not is_enough(high):
        if high > len(loras):
            raise never
        low, high, step = high + 1, high + step, 2 * step
    while low < high:
        middle = (low + high) // 2
        if is_enough(middle):
            high = middle
        else:
            low = middle + 1
    return Found(gpus=high, measured=tried[high], tried=tuple(tried[n] for n in sorted(tried)))
