"""Versions of the code that makes results; raising one moves the fingerprints of its stage."""

CHECKS_VERSION = "1"
TRAINER_VERSION = "1"
RULER_VERSION = "1"
OPTIMIZER_VERSION = "1"
