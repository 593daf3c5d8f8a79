"""Versions that enter fingerprints; raising one moves the fingerprints of its stage.

The first four stand for the code that makes a stage's results. `RECIPES` stand for what a
fingerprint is made of: raise the stage's number when a part is added, dropped or written in another
way, or when the default of a setting changes (defaults do not enter). Plans then say that this is
why a stage runs again.
"""

from __future__ import annotations

from lora_ci.core.step import Stage

CHECKS_VERSION = "3"
TRAINER_VERSION = "3"
RULER_VERSION = "3"
OPTIMIZER_VERSION = "1"

RECIPES = {**dict.fromkeys(Stage, 1), Stage.TRAIN: 2, Stage.QA: 2, Stage.OPTIMIZE: 2}
