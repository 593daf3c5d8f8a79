"""How many GPUs it takes."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from lora_ci.core.errors import InputError
from lora_ci.execution.fleet.loras import draw_loras, gpu_hours
from lora_ci.execution.fleet.measured import Measured
from lora_ci.execution.fleet.scenario import Scenario
from lora_ci.execution.fleet.simulate import Watch, simulate

# A search that comes so far is not about GPUs any more.
MOST_GPUS = 4096
# Of the good LoRAs, so many must pass.
ENOUGH = 0.95
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

    # Fewer could not do the work in the time, however it is dealt out.
    low = max(1, int(gpu_hours(draw_loras(scenario)) / (24 * scenario.days + turnaround_h)))
    high, step = low, 1
    while not is_enough(high):
        low, high, step = high + 1, high + step, 2 * step
        if high > MOST_GPUS:
            raise InputError(
                f"not even {MOST_GPUS} GPUs bring 95 of 100 LoRAs back in {turnaround_h:g} h: "
                f"with {max(tried)} it took {tried[max(tried)].turnaround.p95:.2f} h",
                hint="next: a longer --turnaround",
            )
    while low < high:
        middle = (low + high) // 2
        if is_enough(middle):
            high = middle
        else:
            low = middle + 1
    return Found(gpus=high, measured=tried[high], tried=tuple(tried[n] for n in sorted(tried)))
