"""Which function does which stage; loaded on use, so that deciding never loads torch."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Callable, Mapping

from lora_ci.core.step import Stage, StepContext, StepResult, StepSpec

Run = Callable[[StepSpec, StepContext], StepResult]
Table = Mapping[Stage, str]

TABLE: Table = {
    Stage.VALIDATE: "lora_ci.dataset.step:run",
    Stage.TRAIN: "lora_ci.training.step:run",
    Stage.QA: "lora_ci.qa.step:run",
    Stage.OPTIMIZE: "lora_ci.optimize.step:run",
    Stage.DEPLOY: "lora_ci.deploy.step:run",
}


def load(stage: Stage, table: Table = TABLE) -> Run:
    """The function of a stage."""
    module, _, name = table[stage].partition(":")
    collecting = gc.isenabled()
    # What torch and its kin make on import stays: to look for garbage there is a sixth of the time.
    gc.disable()
    try:
        run: Run = getattr(importlib.import_module(module), name)
    finally:
        if collecting:
            gc.enable()
    return run
