"""The step `train` with a clock: what `exec_step` loads in place of the step's own module."""

from __future__ import annotations

from benchmarks.clock import start_clock
from lora_ci.training.step import run

__all__ = ["clock", "run"]

clock = start_clock()
