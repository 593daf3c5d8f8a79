"""The clock of both trainers: reads the time whenever an optimizer has stepped.

torch calls it, not the trainer, so nothing of either has to be changed or trusted.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from torch.optim.optimizer import register_optimizer_step_post_hook

RECORD = "record.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Times of optimizer steps in this process.

    `ended_at` are readings of the system-wide monotonic clock, `cpu_s` the processor seconds of
    this process at the same moments, `peak_mib` its largest resident memory until then.
    """

    ended_at: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    peak_mib: list[float] = field(default_factory=list)

    def write(self, folder: Path, adapter: str, **more: str) -> None:
        """Writes `record.json` for the parent process."""
        record = {
            "ended_at": self.ended_at,
            "cpu_s": self.cpu_s,
            "peak_mib": self.peak_mib,
            "whole_mib": peak_mib(),
            "adapter": adapter,
            **more,
        }
        (folder / RECORD).write_text(json.dumps(record))


def start_clock() -> Clock:
    """A clock that every optimizer of this process will read from now on."""
    clock = Clock()

    def stepped(*_: object) -> None:
        clock.ended_at.append(time.monotonic())
        clock.cpu_s.append(time.process_time())
        clock.peak_mib.append(peak_mib())

    register_optimizer_step_post_hook(stepped)
    return clock


def peak_mib() -> float:
    """The largest resident memory of this process so far.

    Not ru_maxrss: a process inherits that of the one which started it.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024
